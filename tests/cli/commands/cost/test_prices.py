"""The price file."""

from datetime import date

import pytest

from cli.commands.cost import prices
from cli.lib.project import CommandError
from infra.settings.deployment import DEV, PROD
from tests.support.price_table import DOCUMENT, page


def test_every_price_has_a_source_and_a_date() -> None:
    """Every entry has them. Only what was seen at AWS is confirmed."""
    content = prices.read()
    for entry in (*content["prices"].values(), *content["instances"].values()):
        assert entry["value"] > 0
        assert entry["source"]
        assert date.fromisoformat(entry["date"])
        assert (
            not entry["confirmed"]
            or ".amazon.com/" in entry["source"]
            or (".amazonaws.com/" in entry["source"])
        )


def test_the_stages_instances_have_prices() -> None:
    """The default instances have prices. The error for an unknown type names the ways out."""
    assert prices.instance_price(DEV.instance_type) > 0
    assert prices.instance_price(PROD.instance_type) > 0
    with pytest.raises(CommandError, match=r"--instance-hour.*--refresh-prices"):
        prices.instance_price("ml.none.large")


def test_the_page_of_prices_is_up_to_date() -> None:
    """docs/reference/prices.md has the tables that `make docs` writes."""
    text = DOCUMENT.read_text()
    assert page(text) == text
