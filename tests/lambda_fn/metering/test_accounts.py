"""Accounts, ledger and both together, on moto's DynamoDB."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from lambda_fn import ids, limits
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError, Unavailable
from lambda_fn.http.client import Client
from lambda_fn.ids import ledger_partition, new_request_id, request_time
from lambda_fn.metering import account_changes, accounts, ledger, reservations, settlements
from lambda_fn.metering.ledger import Opening, Prices, Settlement
from lambda_fn.metering.windows import UNLIMITED
from lambda_fn.stream.admit import Gate
from tests.support.function import CREDENTIALS, KEY, KEY_ID, TABLE, peer

CALLER = Caller(KEY_ID, ids.hash_key(KEY))
DONE = Settlement("complete", 3, 5, "stop", 12, 40)
PRICES = Prices(10, 100)
NOW = time.time()
"""Of all request ids, so that no minute ends within a test."""


def opening(*, reserved: int = 100, cost: int = 5000) -> Opening:
    """Make what a new request is opened with."""
    return Opening(new_request_id(NOW), KEY_ID, "m", reserved, cost, PRICES)


def test_key_has_256_random_bits_and_a_public_id() -> None:
    """A key is `sk-`, twelve public characters, and 43 that are secret; the account has its hash."""
    key = ids.new_key()
    item = accounts.new_account(key, name="n", now=1)
    assert len(key) == 3 + 12 + 1 + 43
    assert item["pk"] == f"KEY#{ids.key_id_of(key)}"
    assert key not in str(item)
    assert key[16:] not in str(item)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sk-",
        KEY[:-1],
        KEY + "a",
        KEY.upper(),
        "pk" + KEY[2:],
        KEY + "\n",
        " " + KEY,
        KEY[:-1] + "é",
        "sk-" + "a" * 56,
    ],
)
def test_what_is_no_key(text: str) -> None:
    """Only the exact form of a key is one."""
    assert ids.key_id_of(KEY) == KEY_ID
    assert ids.key_id_of(text) is None


def test_request_ids_tell_their_time_and_sort() -> None:
    """An id says when it was made, and ids of later requests are greater."""
    early, late = new_request_id(1_790_000_000.123), new_request_id(1_790_000_000.124)
    assert early < late
    assert request_time(early) == 1_790_000_000.123
    assert ledger_partition(early).startswith("LEDGER#2026-09-21T14#")


async def test_a_request_from_end_to_end(table: Table, items: Any, account: dict[str, str]) -> None:
    """A request is reserved and in flight, then settled, booked and given back, once however often it is repeated."""
    begin = opening()
    admission = await Gate(table).admit(CALLER, begin, fingerprint="f" * 16)
    item = items.get_item(Key=account)["Item"]
    assert item["in_flight"] == {begin.request_id: f'[1,100,5000,"{"f" * 16}","m"]'}
    assert item["open"].startswith("ACCOUNT#")
    assert int(item["due"]) - time.time() == pytest.approx(limits.OVERDUE, abs=5)
    assert items.get_item(Key=ledger.ledger_key(begin.request_id))["Item"]["state"] == "OPEN"
    assert admission.entry is not None
    for _ in range(2):
        await settlements.close(table, begin, DONE, entry=admission.entry, now=NOW)
    item = items.get_item(Key=account)["Item"]
    assert (item["in_flight"], item["requests"], item["prompt_tokens"], item["completion_tokens"]) == ({}, 1, 3, 5)
    assert item["cost"] == 3 * 10 + 5 * 100
    left = {name.partition("#")[0]: UNLIMITED - int(value) for name, value in item["balance"].items()}
    assert left == {"requests": 1, "tokens": 8, "cost": 530}
    settled = items.get_item(Key=ledger.ledger_key(begin.request_id))["Item"]
    assert (settled["state"], settled["cost"], settled["entry"]) == ("SETTLED", 530, 1)
    assert not {"open", "due"} & settled.keys()


async def test_unknown_disabled_expired_replaced(table: Table, items: Any, account: dict[str, str]) -> None:
    """A key that nobody has, a wrong secret, a disabled, an expired and a replaced key reserve nothing."""
    gate = Gate(table)

    async def code(caller: Caller = CALLER) -> str | None:
        with pytest.raises(APIError) as caught:
            await gate.admit(caller, opening())
        with pytest.raises(APIError) as again:
            await gate.check_key(caller)
        assert again.value.error_code == caught.value.error_code
        return caught.value.error_code

    def change(update: str, **values: Any) -> None:
        items.update_item(
            Key=account, UpdateExpression=update, ExpressionAttributeValues={f":{n}": v for n, v in values.items()}
        )

    assert await code(Caller("a" * 12, CALLER.key_hash)) == "invalid_api_key"
    assert await code(Caller(KEY_ID, "0" * 64)) == "invalid_api_key"
    change("SET enabled = :no", no=False)
    assert await code() == "key_disabled"
    assert await code(Caller(KEY_ID, "0" * 64)) == "invalid_api_key"
    change("SET enabled = :yes, expires = :then", yes=True, then=2)
    assert await code() == "key_expired"
    change("SET expires = :later", later=int(time.time()) + 60)
    item = await table.get(account)
    assert item is not None
    await table.update(account_changes.rotate(item, "1" * 64, now=int(time.time()), grace=60))
    await gate.check_key(CALLER)
    await gate.check_key(Caller(KEY_ID, "1" * 64))
    change("SET old_secrets = :old", old={CALLER.key_hash: 2})
    assert await code() == "key_replaced"
    assert items.get_item(Key=account)["Item"]["in_flight"] == {}


@pytest.mark.parametrize("limit", accounts.LIMIT_NAMES)
async def test_each_limit_alone(table: Table, items: Any, account: dict[str, str], limit: str) -> None:
    """Each limit lets through what fits, to the last unit, and refuses the next request with its own error."""
    most = {"requests": 3, "max": 3, "tokens": 300, "cost": 15_000}[limit.partition("_")[0]]
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, most=accounts.Limits(**{limit: most})))
    gate = Gate(table)
    for _ in range(3):
        await gate.admit(CALLER, opening())
    with pytest.raises(APIError) as caught:
        await gate.admit(CALLER, opening())
    assert (caught.value.status, caught.value.error_code) == (429, "rate_limit_exceeded")
    assert caught.value.retry_after is not None
    assert "x-should-retry" not in caught.value.headers
    assert len(items.get_item(Key=account)["Item"]["in_flight"]) == 3


@pytest.mark.parametrize("limit", [name for name in accounts.LIMIT_NAMES if name.endswith(("day", "month"))])
async def test_a_budget_is_spent_when_nobody_holds_it(
    table: Table, items: Any, account: dict[str, str], limit: str
) -> None:
    """What running requests hold of a budget may come back, so it is worth another try; what is spent is not."""
    most = 300 if limit.startswith("tokens") else 15_000
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, most=accounts.Limits(**{limit: most})))
    gate = Gate(table)
    for _ in range(3):
        await gate.admit(CALLER, opening())
    items.update_item(Key=account, UpdateExpression="SET in_flight = :none", ExpressionAttributeValues={":none": {}})
    with pytest.raises(APIError) as caught:
        await gate.admit(CALLER, opening())
    assert (caught.value.status, caught.value.error_code) == (429, "insufficient_quota")
    assert caught.value.retry_after is None
    assert caught.value.headers["x-should-retry"] == "false"


async def test_models_of_a_key(table: Table, items: Any, account: dict[str, str]) -> None:
    """A key that has a list of models may use those, and to it others are not there."""
    del account
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, models=["m", "other"]))
    gate = Gate(table)
    await gate.admit(CALLER, opening())
    with pytest.raises(APIError) as caught:
        await gate.admit(CALLER, msgspec.structs.replace(opening(), model="third"))
    assert (caught.value.status, caught.value.error_code) == (404, "model_not_found")


async def test_changing_a_limit_in_mid_window(table: Table, items: Any, account: dict[str, str]) -> None:
    """A changed limit counts at once, with what was used before, and only if it still was the old one."""
    old, new = accounts.Limits(tokens_day=150), accounts.Limits(tokens_day=250, tokens_month=1000)
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, most=old))
    gate = Gate(table)
    await gate.admit(CALLER, opening())
    item = await table.get(account)
    assert item is not None
    change = account_changes.change_limits(accounts.Account.of(item), new, now=time.time())
    await table.update(change)
    with pytest.raises(ConditionFailed):
        await table.update(change)
    await gate.admit(CALLER, opening())
    with pytest.raises(APIError, match="50 left of 250, this request may need 100"):
        await gate.admit(CALLER, opening())
    balance = items.get_item(Key=account)["Item"]["balance"]
    assert sorted(int(left) for name, left in balance.items() if name.startswith("tokens")) == [
        50,
        800,
        UNLIMITED - 200,
    ]


async def test_throttling_is_waited_out(http: Client) -> None:
    """A throttled write is made again, a few times; then the meter is unavailable."""
    answers = [b'{"__type":"com.amazonaws#ThrottlingException"}'] * 3
    tries = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
            status, body = (b"400 Bad", answers[tries]) if tries < len(answers) else (b"200 OK", b"{}")
            tries += 1
            writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
            await writer.drain()

    async with peer(handler) as origin:
        slow = Table(http, url=origin, region="eu-west-1", name=TABLE, credentials=lambda: CREDENTIALS)
        await slow.put(ledger.opening_item(opening()), condition=ledger.NEW)
        assert tries == 4
        tries = -10
        answers += answers * 10
        with pytest.raises(MeterUnavailable, match="ThrottlingException"):
            await slow.put(ledger.opening_item(opening()), condition=ledger.NEW)


async def test_meter_that_is_not_there(http: Client) -> None:
    """Nobody listening is an unavailable meter, not a hang."""
    table = Table(
        http, url="http://127.0.0.1:9", region="eu-west-1", name=TABLE, credentials=lambda: Credentials("a", "b", "")
    )
    with pytest.raises(Unavailable):
        await Gate(table).check_key(CALLER)


def test_no_expression_has_a_reserved_word() -> None:
    """No attribute is named in an expression by a word that DynamoDB reserves."""
    import re
    from pathlib import Path

    import moto.dynamodb.parsing

    words = Path(moto.dynamodb.parsing.__file__).parent / "reserved_keywords.txt"
    reserved = {word.strip().upper() for word in words.read_text().split()}
    syntax = {"SET", "ADD", "REMOVE", "AND", "OR", "EXISTS", "NOT"}
    begin, now = opening(), time.time()
    entry = accounts.Entry(1, 1, 1, "", "m")
    spend = settlements.spend_of(DONE, PRICES)
    item, new = accounts.new_account(KEY, name="n", now=1) | {"revision": 1}, accounts.Limits(*range(1, 8))
    updates = [
        account_changes.rotate(item, "h", now=1, grace=1),
        account_changes.change_limits(accounts.Account.of(item), new, now=now),
        reservations.reserve(KEY_ID, "h", reservations.Reservation(begin.request_id, 1, 1, "m"), now=1),
        reservations.reserve(KEY_ID, "h", reservations.Reservation(begin.request_id, 1, 1, "m", priced=False), now=1),
        reservations.release(KEY_ID, begin.request_id, entry, spend, now=now, stale=["tokens#2026-11"]),
        reservations.enter(KEY_ID, begin.request_id, model="m", now=now),
        reservations.unwatch(KEY_ID),
        reservations.watch_later(KEY_ID, was=1, due=2),
        ledger.settle(begin.request_id, DONE, prices=PRICES, entry=1, now=now, recovered=True),
        ledger.correct(begin.request_id, DONE, prices=PRICES, entry=1, now=now),
        ledger.checkpoint(begin.request_id, prompt_tokens=1, completion_tokens=1, now=now),
        ledger.cancel(begin.request_id, key_id=KEY_ID, now=now),
    ]
    for update in updates:
        for text in (update.update, update.condition):
            names = re.findall(r"(?<![:#\w])[a-z_]\w*(?!\w*\()", text, re.IGNORECASE)
            assert not {name.upper() for name in names} & reserved - syntax, text
