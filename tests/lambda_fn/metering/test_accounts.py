"""Accounts, ledger and both together, on moto's DynamoDB."""

import time
from typing import Any

import msgspec

from lambda_fn import ids, limits
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import Table
from lambda_fn.ids import new_request_id
from lambda_fn.metering import accounts, settlements
from lambda_fn.metering.accounts import Hold, Spend
from lambda_fn.metering.keys import ledger_key
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices
from lambda_fn.metering.windows import UNLIMITED
from lambda_fn.stream.admit import Gate
from tests.support.function import KEY, KEY_ID
from tests.support.one_request import correction

CALLER = Caller(KEY_ID, ids.hash_key(KEY))
DONE = Settlement("complete", 3, 5, "stop", 12, 40)
PRICES = Prices(10, 100)
NOW = time.time()
"""The time in all request ids. It is fixed, so that no minute ends within a test."""


def opening(*, reserved: int = 100, cost: int = 5000) -> Opening:
    """Return the opening of a new request."""
    return Opening(new_request_id(NOW), KEY_ID, "m", reserved, cost, PRICES)


def test_key_has_256_random_bits_and_a_public_id() -> None:
    """A key is `sk-`, twelve public characters and 43 secret ones. The account has its hash."""
    key = ids.new_key()
    item = accounts.new_account(key, name="n", now=1)
    assert len(key) == 3 + 12 + 1 + 43
    assert item["pk"] == f"KEY#{ids.key_id_of(key)}"
    assert key not in str(item)
    assert key[16:] not in str(item)


async def test_a_request_from_end_to_end(table: Table, items: Any, account: dict[str, str]) -> None:
    """A hold is placed, the request is settled, and the hold is captured.

    Repeated writes have no effect.
    """
    begin = opening()
    before = int(time.time())
    admission = await Gate(table).admit(CALLER, begin, fingerprint="f" * 16)
    after = int(time.time())
    item = items.get_item(Key=account)["Item"]
    assert item["in_flight"] == {begin.request_id: f'[1,100,5000,"{"f" * 16}","m"]'}
    assert item["open"].startswith("ACCOUNT#")
    assert before + limits.OVERDUE <= item["due"] <= after + limits.OVERDUE
    assert items.get_item(Key=ledger_key(begin.request_id))["Item"]["state"] == "OPEN"
    assert admission.entry is not None
    for _ in range(2):
        await settlements.settle(table, begin, DONE, hold=admission.entry, now=NOW)
    item = items.get_item(Key=account)["Item"]
    assert (
        item["in_flight"],
        item["requests"],
        item["prompt_tokens"],
        item["completion_tokens"],
    ) == ({}, 1, 3, 5)
    assert item["cost"] == 3 * 10 + 5 * 100
    left = {
        name.partition("#")[0]: UNLIMITED - int(value) for name, value in item["balance"].items()
    }
    assert left == {"requests": 1, "tokens": 8, "cost": 530}
    settled = items.get_item(Key=ledger_key(begin.request_id))["Item"]
    assert (settled["state"], settled["cost"], settled["entry"]) == ("SETTLED", 530, 1)
    assert not {"open", "due"} & settled.keys()


def test_an_entry_reads_as_it_was_written() -> None:
    """A hold is read as it was written."""
    plain = Hold(1, 100, 5000, "f" * 16, "m")
    assert plain.text == '[1,100,5000,"ffffffffffffffff","m"]'
    for entry in (plain, Hold(7, 0, 0, "", "m", correction(Spend(1, 2, 3, 4)))):
        assert Hold.parse(entry.text) == entry
        claimed = entry.claim()
        assert claimed == msgspec.structs.replace(entry, claimed=True)
        assert claimed.text != entry.text
        assert Hold.parse(claimed.text) == claimed
    later = Hold.parse('[1,100,5000,"","m",null,false,"new"]').claim()
    assert later.text == '[1,100,5000,"","m",null,true,"new"]'
