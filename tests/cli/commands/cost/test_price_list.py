"""The prices of instances from AWS's price list."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from cli.commands.cost import price_list, prices
from cli.lib.project import CommandError
from tests.support.answers_once import answering

PUBLISHED = "2026-11-20T00:00:00Z"


def product(name: str, usage: str) -> dict[str, object]:
    """Return a product as AWS's price list has it."""
    return {
        "sku": "X",
        "productFamily": "ML Instance",
        "attributes": {"instanceName": name, "usagetype": usage, "vCpu": "4"},
    }


def term(usd: str, unit: str = "Hrs") -> dict[str, object]:
    """Return the on-demand terms of a product."""
    return {"S.T": {"priceDimensions": {"S.T.D": {"unit": unit, "pricePerUnit": {"USD": usd}}}}}


LIST = {
    "formatVersion": "v1.0",
    "publicationDate": PUBLISHED,
    "products": {
        "A": product("ml.g5.xlarge", "USE1-Host:ml.g5.xlarge"),
        "B": product("ml.g5.xlarge", "USE1-Train:ml.g5.xlarge"),
        "C": product("ml.new.large", "Host:ml.new.large"),
        "D": product("ml.free.large", "USE1-Host:ml.free.large"),
        "E": {"sku": "E", "attributes": {"usagetype": "USE1-Invoke-Bytes"}},
        "F": product("ml.async.large", "USE1-AsyncHost:ml.async.large"),
    },
    "terms": {
        "OnDemand": {
            "A": term("1.5000000000"),
            "B": term("9.0"),
            "C": term("0.25", "hours"),
            "D": term("0.0"),
            "F": term("3.0"),
        }
    },
}


def serve(folder: Path, body: bytes, region: str = "us-east-1") -> str:
    """Write a region's list into a folder, and return the address of the lists."""
    (folder / region).mkdir(parents=True)
    (folder / region / "index.json").write_bytes(body)
    return folder.as_uri()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a copy of the price file."""
    copy = tmp_path / "prices.json"
    copy.write_bytes(prices.FILE.read_bytes())
    return copy


def test_a_refresh_takes_the_hours_of_real_time_hosting(file: Path, tmp_path: Path) -> None:
    """Training, asynchronous hosting and free entries are not taken; other entries stay."""
    before = json.loads(file.read_text())
    address = serve(tmp_path / "lists", json.dumps(LIST).encode())
    count = price_list.refresh("us-east-1", address=address, file=file, today=date(2026, 12, 1))
    after = json.loads(file.read_text())
    assert count == 2
    assert after["instances"]["ml.g5.xlarge"]["value"] == 1.5
    assert after["instances"]["ml.new.large"]["value"] == 0.25
    assert after["instances"]["ml.new.large"]["confirmed"]
    assert PUBLISHED in after["instances"]["ml.new.large"]["source"]
    assert not {"ml.free.large", "ml.async.large"} & after["instances"].keys()
    assert after["instances"]["ml.c5.large"] == before["instances"]["ml.c5.large"]
    assert after["instances"]["ml.new.large"]["date"] == "2026-12-01"
    assert (after["region"], after["prices"]) == (before["region"], before["prices"])


def test_prices_of_another_region_replace_those_of_the_first(file: Path, tmp_path: Path) -> None:
    """No instance keeps the price of one region under the name of another. The rest stays."""
    address = serve(tmp_path / "lists", json.dumps(LIST).encode(), region="eu-west-1")
    price_list.refresh("eu-west-1", address=address, file=file)
    after = json.loads(file.read_text())
    assert after["instances"].keys() == {"ml.g5.xlarge", "ml.new.large"}
    assert (after["region"], after["instances_region"]) == ("us-east-1", "eu-west-1")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda body: body[: len(body) // 2], "could not be read"),
        (lambda _: b"<html>", "could not be read"),
        (lambda _: json.dumps({**LIST, "products": {}}).encode(), "no price of an instance"),
        (lambda body: body.replace(b"0.25", b"a lot"), "could not be read"),
    ],
)
def test_a_list_that_cannot_be_read_leaves_the_file(
    file: Path, tmp_path: Path, body: Callable[[bytes], bytes], message: str
) -> None:
    """A cut list, a page, an empty list and a price that is no number are told."""
    before = file.read_bytes()
    address = serve(tmp_path / "lists", body(json.dumps(LIST).encode()))
    with pytest.raises(CommandError, match=message):
        price_list.refresh("us-east-1", address=address, file=file)
    with pytest.raises(CommandError, match="could not be read"):
        price_list.refresh("eu-north-1", address=address, file=file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("answer", [b"", b"no HTTP\r\n\r\n"])
def test_an_answer_that_is_no_http(file: Path, answer: bytes) -> None:
    """It is told as a list that cannot be read."""
    with answering(answer) as url, pytest.raises(CommandError, match="could not be read"):
        price_list.refresh("us-east-1", address=url, file=file)
