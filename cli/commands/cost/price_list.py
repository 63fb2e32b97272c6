"""Read the prices of instances from AWS's own price list into the price file."""

import json
import urllib.request
from datetime import UTC, date, datetime
from http.client import HTTPException
from pathlib import Path

import msgspec

from cli.commands.cost.prices import FILE, read
from cli.lib.project import CommandError, why

LIST = "https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonSageMaker/current"
"""AWS's price list of SageMaker, which needs no credentials. A region's file is
`REGION/index.json`.
"""
_LARGEST = 512 * 1024 * 1024
_TIMEOUT = 60


class _Dimension(msgspec.Struct):
    unit: str = ""
    price_per_unit: dict[str, str] = msgspec.field(default_factory=dict, name="pricePerUnit")


class _Term(msgspec.Struct):
    dimensions: dict[str, _Dimension] = msgspec.field(default_factory=dict, name="priceDimensions")


class _Terms(msgspec.Struct):
    on_demand: dict[str, dict[str, _Term]] = msgspec.field(default_factory=dict, name="OnDemand")


class _Product(msgspec.Struct):
    attributes: dict[str, str] = {}


class PriceList(msgspec.Struct):
    """What this reads of a region's `index.json`: products and terms by SKU."""

    published: str = msgspec.field(name="publicationDate")
    products: dict[str, _Product]
    terms: _Terms


def hosting(found: PriceList) -> dict[str, float]:
    """Return USD an hour by instance type: the on-demand prices of real-time hosting in a list."""
    prices = {}
    for sku, product in found.products.items():
        name = product.attributes.get("instanceName", "")
        usage = product.attributes.get("usagetype", "").rpartition("-")[2]
        if not name.startswith("ml.") or usage != f"Host:{name}":
            continue
        hours = [
            float(dimension.price_per_unit["USD"])
            for term in found.terms.on_demand.get(sku, {}).values()
            for dimension in term.dimensions.values()
            if dimension.unit.lower() in ("hrs", "hours") and "USD" in dimension.price_per_unit
        ]
        if len(hours) == 1 and hours[0] > 0:
            prices[name] = hours[0]
    return prices


def refresh(
    region: str, *, address: str = LIST, file: Path = FILE, today: date | None = None
) -> int:
    """Write the instances' prices of AWS's own list into the price file. Return their number.

    The other prices stay, and so does their region: they are few, and AWS's lists describe them by
    attributes that change. An instance that the list does not have keeps its entry, unless that is
    of another region.

    Args:
        region: The region whose prices are read, such as us-east-1.
        address: The list's address without region and file.
        file: The price file.
        today: The date that the prices get; None: today's in UTC.

    Raises:
        CommandError: the list cannot be fetched or read, or has no instance.

    """
    url = f"{address}/{region}/index.json"
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310
            body = answer.read(_LARGEST + 1)
        if len(body) > _LARGEST:
            raise CommandError(f"{url} is over {_LARGEST >> 20} MB. The price file is unchanged.")
        found = msgspec.json.decode(body, type=PriceList)
        prices = hosting(found)
    except (OSError, HTTPException, ValueError, msgspec.DecodeError) as error:
        raise CommandError(
            f"AWS's price list could not be read from {url}: {why(error)}. The price file is "
            "unchanged. Prices can be given with --instance-hour."
        ) from None
    if not prices:
        raise CommandError(f"{url} has no price of an instance. The price file is unchanged.")
    content = json.loads(file.read_text())
    source = f"{url}, published {found.published}"
    day = (today or datetime.now(UTC).date()).isoformat()
    kept = content["instances"] if content["instances_region"] == region else {}
    kept |= {
        name: {"value": usd, "confirmed": True, "date": day, "source": source}
        for name, usd in prices.items()
    }
    content["instances"] = dict(sorted(kept.items()))
    content["instances_region"] = region
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(content, indent=2) + "\n")
    beside.replace(file)
    read.cache_clear()
    return len(prices)
