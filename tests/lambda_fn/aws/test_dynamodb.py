"""What the table sends, and what it makes of answers that DynamoDB would not give."""

from typing import Any

import msgspec
import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Query, Table
from tests.support.function import CREDENTIALS
from tests.support.network import Answer


class Scripted:
    """Stands for `lambda_fn.http.client.Client`: gives the same answer to every call, and keeps what was sent."""

    def __init__(self, body: bytes) -> None:
        """Take the answer."""
        self.sent: list[dict[str, Any]] = []
        self._body = body

    async def request(self, *given: Any, **_: object) -> Answer:
        """Make a call."""
        self.sent.append(msgspec.json.decode(given[4]))
        return Answer(200, self._body)

    def table(self) -> Table:
        """Give a table behind it."""
        return Table(
            self,  # type: ignore[arg-type] # as far as the table needs a client
            url="https://host",
            region="eu-west-1",
            name="usage",
            credentials=lambda: CREDENTIALS,
        )


@pytest.mark.parametrize("body", [b"", b"<html>a proxy</html>", b"[]", b'{"Item":'])
async def test_an_answer_that_is_not_dynamodbs(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 200 that is no JSON object is tried again and then no answer: it does not say that nothing is there."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    client = Scripted(body)
    with pytest.raises(MeterUnavailable, match="no JSON object"):
        await client.table().get({"pk": "a", "sk": "b"})
    assert len(client.sent) == limits.META_TRIES
    with pytest.raises(MeterUnavailable):
        await client.table().query(Query("pk = :pk", {":pk": "a"}))


async def test_writes_without_a_condition_ask_for_nothing_about_one() -> None:
    """`ReturnValuesOnConditionCheckFailure` goes out with conditions only: nowhere is it said to be taken without."""
    client = Scripted(b"{}")
    await client.table().put({"pk": "a", "sk": "b"})
    await client.table().delete({"pk": "a", "sk": "b"})
    assert [set(call) for call in client.sent] == [{"TableName", "Item"}, {"TableName", "Key"}]
    await client.table().put({"pk": "a", "sk": "b"}, condition="pk = :pk", values={":pk": "a"})
    assert client.sent[2].keys() > {"ConditionExpression", "ReturnValuesOnConditionCheckFailure"}
