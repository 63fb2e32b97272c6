"""Accounts and ledger, on moto's DynamoDB."""

import asyncio
from typing import Any

import pytest

from lambda_fn import accounts, ledger
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.http import Client
from lambda_fn.ids import ledger_partition, new_request_id, request_time
from tests.lambda_fn.conftest import CREDENTIALS, KEY, TABLE, peer

HASH = accounts.hash_key(KEY)
DONE = ledger.Settlement("complete", 3, 5, "stop", 12, 40)


def test_key_has_256_random_bits_and_a_public_prefix() -> None:
    """A key is `sk-`, eight public characters, and 43 that are secret; only its hash and prefix are kept."""
    key = accounts.new_key()
    item = accounts.new_account(key, name="n", now=1)
    assert len(key) == 3 + 8 + 1 + 43
    assert key.startswith(item["prefix"]["S"])
    assert key not in str(item)


def test_request_ids_tell_their_time_and_sort() -> None:
    """An id says when it was made, and ids of later requests are greater."""
    early, late = new_request_id(1_790_000_000.123), new_request_id(1_790_000_000.124)
    assert early < late
    assert request_time(early) == 1_790_000_000.123
    assert ledger_partition(early).startswith("LEDGER#2026-09-21T14#")


async def test_reserve_and_release(table: Table, items: Any, account: dict[str, str]) -> None:
    """A reservation is in flight until it is released; then the spend is booked, once however often it is repeated."""
    request_id = new_request_id()
    for _ in range(2):  # a try whose answer was lost is made again
        await accounts.reserve(table, HASH, request_id=request_id, tokens=100, now=2)
    assert items.get_item(Key=account)["Item"]["in_flight"] == {request_id: 100}
    for _ in range(3):
        await accounts.release(table, HASH, request_id=request_id, prompt_tokens=3, completion_tokens=5)
    item = items.get_item(Key=account)["Item"]
    assert (item["in_flight"], item["requests"], item["prompt_tokens"], item["completion_tokens"]) == ({}, 1, 3, 5)


async def test_many_at_once_are_all_booked(table: Table, items: Any, account: dict[str, str]) -> None:
    """Simultaneous requests of one key lose no update."""

    async def one() -> None:
        request_id = new_request_id()
        await accounts.reserve(table, HASH, request_id=request_id, tokens=10, now=2)
        await accounts.release(table, HASH, request_id=request_id, prompt_tokens=1, completion_tokens=2)

    await asyncio.gather(*(one() for _ in range(40)))
    item = items.get_item(Key=account)["Item"]
    assert (item["in_flight"], item["requests"], item["completion_tokens"]) == ({}, 40, 80)


async def test_unknown_disabled_expired(table: Table, items: Any, account: dict[str, str]) -> None:
    """A key that nobody has, a disabled and an expired one are told apart, and reserve nothing."""
    with pytest.raises(accounts.KeyUnknown):
        await accounts.reserve(table, "0" * 64, request_id="r", tokens=1, now=2)
    items.update_item(Key=account, UpdateExpression="SET enabled = :no", ExpressionAttributeValues={":no": False})
    with pytest.raises(accounts.KeyRefused, match="disabled"):
        await accounts.touch(table, HASH, now=2)
    items.update_item(
        Key=account,
        UpdateExpression="SET enabled = :yes, expires = :then",
        ExpressionAttributeValues={":yes": True, ":then": 2},
    )
    with pytest.raises(accounts.KeyRefused, match="expired"):
        await accounts.reserve(table, HASH, request_id="r", tokens=1, now=2)
    assert items.get_item(Key=account)["Item"]["in_flight"] == {}


async def test_first_settlement_stays(table: Table, items: Any) -> None:
    """A ledger item goes from OPEN to SETTLED once; a second settlement changes nothing."""
    request_id = new_request_id()
    for _ in range(2):
        await ledger.open_request(table, request_id, key_hash=HASH, model="m", reserved=100)
    await ledger.settle_request(table, request_id, DONE, now=5.0)
    await ledger.settle_request(table, request_id, ledger.Settlement("cut", 9, 9, None, None, 9), now=6.0)
    item = items.get_item(Key=ledger.ledger_key(request_id))["Item"]
    assert (item["state"], item["outcome"], item["completion_tokens"]) == ("SETTLED", "complete", 5)


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
        await ledger.open_request(slow, new_request_id(), key_hash=HASH, model="m", reserved=1)
        assert tries == 4
        tries = -10
        answers += answers * 10
        with pytest.raises(MeterUnavailable, match="ThrottlingException"):
            await ledger.open_request(slow, new_request_id(), key_hash=HASH, model="m", reserved=1)


async def test_meter_that_is_not_there(http: Client) -> None:
    """Nobody listening is an unavailable meter, not a hang."""
    table = Table(
        http, url="http://127.0.0.1:9", region="eu-west-1", name=TABLE, credentials=lambda: Credentials("a", "b", "")
    )
    with pytest.raises(MeterUnavailable):
        await accounts.touch(table, HASH, now=1)
