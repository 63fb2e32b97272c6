"""Authentication and the count of requests."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.ids import hash_key, new_key
from lambda_fn.metering.windows import windows_of
from tests.support.function import KEY, Call
from tests.support.kept import Kept

LIST = "/v1/sluice/streams"


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> float:
    """Set the clock to the begin of a minute, so that no window ends during a test."""
    now = float(int(time.time()) // 60 * 60 + 1)
    monkeypatch.setattr(time, "time", lambda: now)
    return now


async def test_a_call_needs_a_key_and_the_distribution(recall: Call) -> None:
    """A call without a key, with an unknown key or past the distribution is refused."""
    assert (await recall("GET", LIST, key=None)).status == 401
    assert (await recall("GET", LIST, key=new_key())).status == 401
    assert (await recall("GET", LIST, origin="wrong")).error["code"] == "origin_denied"
    reply = await recall("GET", LIST)
    assert reply.status == 200
    assert reply.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"enabled": False}, "key_disabled"),
        ({"expires": 1}, "key_expired"),
        ({"secret_hash": hash_key(new_key()), "old_secrets": {hash_key(KEY): 1}}, "key_replaced"),
        ({"networks": "192.0.2.0/24"}, "network_not_allowed"),
    ],
)
async def test_a_key_that_may_not_be_used_reads_nothing(
    recall: Call, kept: Kept, items: Any, account: dict[str, str], change: dict[str, Any], code: str
) -> None:
    """That holds from the next call on, whatever this environment has seen of the key before."""
    stored = await kept.whole()
    path = f"{LIST}/{stored.response_id}"
    assert (await recall("GET", path)).status == 200
    items.put_item(Item={**items.get_item(Key=account)["Item"], **change})
    reply = await recall("GET", path)
    assert (reply.status, reply.error["code"]) == (403, code)


async def test_each_call_counts_in_the_requests_of_the_minute(
    recall: Call, items: Any, account: dict[str, str], at_noon: float
) -> None:
    """A key with a limit of requests spends them on reading, too, and is told what is left."""
    items.put_item(Item={**items.get_item(Key=account)["Item"], "requests_minute": 2})
    left = [(await recall("GET", LIST)).headers["x-ratelimit-remaining-requests"] for _ in "12"]
    assert left == ["1", "0"]
    reply = await recall("GET", LIST)
    assert (reply.status, reply.error["code"]) == (429, "rate_limit_exceeded")
    assert reply.headers["retry-after"] == "59"
    window = windows_of(at_noon)[0].name
    assert items.get_item(Key=account)["Item"]["balance"] == {window: 0}


async def test_a_key_that_only_reads_keeps_no_windows_of_the_past(
    recall: Call, items: Any, account: dict[str, str], at_noon: float
) -> None:
    """The count removes windows that have ended. Otherwise the item would grow for ever."""
    old = windows_of(at_noon - 600)[0].name
    item = items.get_item(Key=account)["Item"]
    items.put_item(Item={**item, "requests_minute": 5, "balance": {old: 1}})
    assert (await recall("GET", LIST)).status == 200
    assert list(items.get_item(Key=account)["Item"]["balance"]) == [windows_of(at_noon)[0].name]


async def test_a_key_without_a_limit_writes_nothing(
    recall: Call, items: Any, account: dict[str, str]
) -> None:
    """Its account stays as it is."""
    before = items.get_item(Key=account)["Item"]
    assert (await recall("GET", LIST)).status == 200
    assert items.get_item(Key=account)["Item"] == before


async def test_without_the_meter_nothing_is_read(
    make_recall: Callable[..., Call], account: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that cannot be checked is refused, and the client is told to try again."""
    from lambda_fn import limits

    monkeypatch.setattr(limits, "META_MAX_ATTEMPTS", 1)
    reply = await make_recall(usage_table="gone")("GET", LIST)
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")
