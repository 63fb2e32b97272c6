"""The calls that the table sends, and its handling of responses that are not DynamoDB's."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Query, Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from tests.support.function import CREDENTIALS, TABLE, peer
from tests.support.network import Answer


class Scripted:
    """A client that answers each call, and records the calls."""

    def __init__(self, body: bytes | Callable[[dict[str, Any]], Answer]) -> None:
        """Take the response to every call, or what makes the response to a call."""
        self.sent: list[dict[str, Any]] = []
        self._body = body

    async def request(self, *arguments: Any, **_: object) -> Answer:
        """Make a call."""
        self.sent.append(msgspec.json.decode(arguments[4]))
        return (
            Answer(200, self._body) if isinstance(self._body, bytes) else self._body(self.sent[-1])
        )

    def table(self) -> Table:
        """Return a table over this client."""
        return Table(
            self,  # type: ignore[arg-type] # as far as the table needs a client
            url="https://host",
            region="eu-west-1",
            name="usage",
            credentials=lambda: CREDENTIALS,
        )


@pytest.mark.parametrize("body", [b"", b"<html>a proxy</html>", b"[]", b'{"Item":'])
async def test_an_answer_that_is_not_dynamodbs(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 200 whose body is not a JSON object is retried, then the table is unavailable.

    It does not mean that no item exists.
    """
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    client = Scripted(body)
    with pytest.raises(MeterUnavailable, match="not a JSON object"):
        await client.table().get({"pk": "a", "sk": "b"})
    assert len(client.sent) == limits.META_MAX_ATTEMPTS
    with pytest.raises(MeterUnavailable):
        await client.table().query(Query("pk = :pk", {":pk": "a"}))


async def test_writes_without_a_condition_ask_for_nothing_about_one() -> None:
    """`ReturnValuesOnConditionCheckFailure` is sent only with a condition."""
    client = Scripted(b"{}")
    await client.table().put({"pk": "a", "sk": "b"})
    await client.table().delete({"pk": "a", "sk": "b"})
    assert [set(call) for call in client.sent] == [{"TableName", "Item"}, {"TableName", "Key"}]
    await client.table().put({"pk": "a", "sk": "b"}, condition="pk = :pk", values={":pk": "a"})
    assert client.sent[2].keys() > {"ConditionExpression", "ReturnValuesOnConditionCheckFailure"}


async def test_throttling_is_waited_out(http: Client) -> None:
    """A throttled write is retried a few times. Then the meter is unavailable."""
    answers = [b'{"__type":"com.amazonaws#ThrottlingException"}'] * 3
    tries = 0

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(
                int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            )
            status, body = (
                (b"400 Bad", answers[tries]) if tries < len(answers) else (b"200 OK", b"{}")
            )
            tries += 1
            writer.write(b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body))
            await writer.drain()

    async with peer(handler) as origin:
        slow = Table(
            http, url=origin, region="eu-west-1", name=TABLE, credentials=lambda: CREDENTIALS
        )
        await slow.put({"pk": "a", "sk": "b"}, condition="attribute_not_exists(pk)")
        assert tries == 4
        tries = -10
        answers += answers * 10
        with pytest.raises(MeterUnavailable, match="ThrottlingException"):
            await slow.put({"pk": "a", "sk": "b"}, condition="attribute_not_exists(pk)")


async def test_meter_that_is_not_there(http: Client) -> None:
    """If no process listens at the address, the meter is unavailable. The call does not hang."""
    table = Table(
        http,
        url="http://127.0.0.1:9",
        region="eu-west-1",
        name=TABLE,
        credentials=lambda: Credentials("a", "b", ""),
    )
    with pytest.raises(MeterUnavailable):
        await table.get({"pk": "a", "sk": "b"})


def batch(*, leaves: int = 0) -> Callable[[dict[str, Any]], Answer]:
    """Return what reads items with the partition key in `n`, but leaves so many keys of each call.

    Items whose partition key begins with `no` do not exist.
    """

    def answer(call: dict[str, Any]) -> Answer:
        asked = call["RequestItems"]["usage"]
        keys = asked["Keys"]
        assert len({msgspec.json.encode(key) for key in keys}) == len(keys) <= 100
        read, left = keys[leaves:], keys[:leaves]
        result = {
            "Responses": {
                "usage": [
                    {**key, "n": key["pk"]} for key in read if not key["pk"]["S"].startswith("no")
                ]
            },
            "UnprocessedKeys": {"usage": {**asked, "Keys": left}} if left else {},
        }
        return Answer(200, msgspec.json.encode(result))

    return answer


@pytest.mark.parametrize("count", [0, 1, 100, 101, 350])
async def test_many_items_are_read_in_few_calls(count: int) -> None:
    """A call has at most 100 keys, each once. An item that does not exist is None."""
    client = Scripted(batch())
    keys = [(f"{'no' if number % 3 else 'yes'}{number}", "sk") for number in range(count)]
    found = await client.table().get_many([*keys, *keys], ["n"])
    assert found == {
        (pk, sk): None if pk.startswith("no") else {"pk": pk, "sk": sk, "n": pk} for pk, sk in keys
    }
    assert len(client.sent) == -(-count // 100)
    for call in client.sent:
        asked = call["RequestItems"]["usage"]
        assert asked["ConsistentRead"] is True
        names = asked["ExpressionAttributeNames"]
        assert [names[it] for it in asked["ProjectionExpression"].split(", ")] == ["pk", "sk", "n"]


async def test_keys_that_were_left_out_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each call leaves some, and only these are asked for. What stays is missing in the result."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    client = Scripted(batch(leaves=2))
    keys = [(name, "sk") for name in ("a", "b", "c", "no")]
    found = await client.table().get_many(keys, ["n"])
    assert found.keys() == {("c", "sk"), ("no", "sk")}
    assert len(client.sent) == limits.META_MAX_ATTEMPTS
    assert [len(it["RequestItems"]["usage"]["Keys"]) for it in client.sent] == [4, 2, 2, 2]

    calls = iter([batch(leaves=2), batch(leaves=1), batch()])
    client = Scripted(lambda call: next(calls)(call))
    found = await client.table().get_many(keys, ["n"])
    assert found.keys() == set(keys)
    assert found["no", "sk"] is None


async def test_a_batch_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys were not read, and those of the other batches were. Nothing is raised."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    well = batch()

    def some(call: dict[str, Any]) -> Answer:
        if len(call["RequestItems"]["usage"]["Keys"]) == 100:
            return Answer(400, b'{"__type":"com.amazonaws#AccessDeniedException"}')
        return well(call)

    found = await Scripted(some).table().get_many([(f"{it}", "sk") for it in range(103)], ["n"])
    assert found.keys() == {(f"{it}", "sk") for it in range(100, 103)}


@pytest.mark.parametrize("attempts", [1, 2, None])
async def test_a_batch_is_attempted_so_often(
    monkeypatch: pytest.MonkeyPatch, attempts: int | None
) -> None:
    """A call that fails is made again, unless the caller does not want that."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    client = Scripted(lambda _: Answer(500, b"{}"))
    assert await client.table().get_many([("a", "sk")], ["n"], max_attempts=attempts) == {}
    assert len(client.sent) == (attempts or limits.META_MAX_ATTEMPTS)
