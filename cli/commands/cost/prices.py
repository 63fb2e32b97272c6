"""The price file: dated prices with their sources.

`prices.json` has `prices` by name, of `region`, and `instances` by type, of `instances_region`.
Each entry has `value` (USD), `date` (when it was looked up), `source`, and `confirmed`: whether the
price was seen at AWS itself.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from cli.lib.project import CommandError

FILE = Path(__file__).with_name("prices.json")
NAME = "cli/commands/cost/prices.json"


@cache
def read() -> dict[str, Any]:
    """Return the price file."""
    content: dict[str, Any] = json.loads(FILE.read_text())
    return content


def price(name: str) -> float:
    """Return one price in USD."""
    value: float = read()["prices"][name]["value"]
    return value


def instance_price(instance_type: str) -> float:
    """Return the price of an instance's hour in USD.

    Raises:
        CommandError: the price file does not have the type.

    """
    instances = read()["instances"]
    if instance_type not in instances:
        raise CommandError(
            f"{NAME} has no price of {instance_type}. Set it with --instance-hour, or read AWS's "
            "price list with `sluice cost --refresh-prices`."
        )
    value: float = instances[instance_type]["value"]
    return value
