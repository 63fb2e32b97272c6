"""A request that an admin cancels in its ledger item: the end of its response, and the cost."""

import asyncio
import time
from typing import Any, Literal

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import Table
from lambda_fn.metering import settlements
from lambda_fn.metering.keys import account_key
from lambda_fn.stream.admit import Switch
from lambda_fn.stream.sinks import ResponseBroken
from tests.support.function import FIRST, KEY_ID, REST, WORLD, Call, Reply, StandIn, lines, part
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")


class Marked:
    """Sets the cancel flag of running requests, as the admin API does. Checkpoints are frequent."""

    def __init__(self, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the usage table."""
        self._table = table
        monkeypatch.setattr(limits, "CHECKPOINT", 0.02)

    async def now(self) -> None:
        """Set the cancel flag of all requests that the key has in flight. There must be one."""
        assert len(await settlements.cancel_all(self._table, KEY_ID, now=time.time())) == 1


class Silence(asyncio.Event):
    """A step of the model that does not end. It sets `reached` when it begins."""

    def __init__(self) -> None:
        """Begin before the step is reached."""
        super().__init__()
        self.reached = asyncio.Event()

    async def wait(self) -> Literal[True]:
        """Send nothing."""
        self.reached.set()
        return await super().wait()


@pytest.fixture
def marked(table: Table, monkeypatch: pytest.MonkeyPatch) -> Marked:
    """Return an object that sets cancel flags."""
    return Marked(table, monkeypatch)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
async def test_a_stream_is_ended(
    call: Call, sagemaker: StandIn, items: Any, marked: Marked, path: str
) -> None:
    """A cancelled stream ends in an error event with the code `cancelled`.

    It is cancelled at the model, and its sampled tokens are booked.
    """
    sagemaker.script = [FIRST, asyncio.Event()]
    body = (
        STREAM
        if path.endswith("chat/completions")
        else {"model": "m", "prompt": "Hi", "stream": True}
    )
    reply = Reply()
    running = asyncio.ensure_future(call(path=path, body=body, reply=reply))
    await reply.until(lambda: b"Hello" in reply.body)
    await marked.now()
    async with asyncio.timeout(60):
        await running
    *said, last = events(reply)
    assert (last["error"]["code"], reply.whole) == ("cancelled", True)
    assert not any(choice["finish_reason"] for event in said for choice in event["choices"])
    item = ledger_item(items, reply)
    assert (item["state"], item["outcome"], item["completion_tokens"]) == (
        "SETTLED",
        "cancelled",
        1,
    )
    assert "cancel" not in item
    assert sagemaker.cancelled == [reply.headers["x-request-id"].removeprefix("req_")]
    assert items.get_item(Key=account_key(KEY_ID))["Item"]["in_flight"] == {}


async def test_a_response_that_the_container_was_told_to_cancel(
    call: Call, sagemaker: StandIn, items: Any
) -> None:
    """Another function may have called the container. The response ends as if the flag were seen.

    It is not called a failure of the model, and is not called again.
    """
    told = {"type": "error", "code": "cancelled", "message": "The request was cancelled."}
    sagemaker.script = [FIRST, part(lines(told))]
    reply = await call(body=STREAM)
    assert events(reply)[-1]["error"]["code"] == "cancelled"
    item = ledger_item(items, reply)
    assert (item["outcome"], item["completion_tokens"]) == ("cancelled", 1)
    assert sagemaker.cancelled == []


async def test_a_whole_response_is_ended(
    call: Call, sagemaker: StandIn, items: Any, marked: Marked
) -> None:
    """A response in one body that is cancelled before its first byte is a 499.

    No client retries it.
    """
    silence = Silence()
    sagemaker.script = [FIRST, silence]
    running = asyncio.ensure_future(call(body=CHAT))
    await silence.reached.wait()
    await marked.now()
    async with asyncio.timeout(60):
        reply = await running
    assert (reply.status, reply.error["code"], reply.headers["x-should-retry"]) == (
        499,
        "cancelled",
        "false",
    )
    assert ledger_item(items, reply)["outcome"] == "cancelled"
    assert len(sagemaker.cancelled) == 1


async def test_a_whole_response_that_has_begun_is_ended(
    call: Call, sagemaker: StandIn, items: Any, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a response in one body has sent heartbeats, a cancel breaks its connection."""
    monkeypatch.setattr(limits, "FIRST_EVENT_WAIT", 0.02)
    sagemaker.script = [FIRST, asyncio.Event()]
    reply = Reply()
    running = asyncio.ensure_future(call(body=CHAT, reply=reply))
    await reply.until_chunks(1)
    await marked.now()
    async with asyncio.timeout(60):
        with pytest.raises(ResponseBroken, match="cancelled"):
            await running
    assert (reply.whole, ledger_item(items, reply)["outcome"]) == (False, "cancelled")


async def test_a_silent_response_is_ended(
    call: Call, sagemaker: StandIn, items: Any, marked: Marked
) -> None:
    """A response without tokens is cancelled too.

    Without a checkpoint to write, the item is read.
    """
    silence = Silence()
    sagemaker.script = [silence]
    running = asyncio.ensure_future(call(body=STREAM))
    await silence.reached.wait()
    await marked.now()
    async with asyncio.timeout(60):
        reply = await running
    assert (reply.status, reply.error["code"]) == (499, "cancelled")
    item = ledger_item(items, reply)
    assert (item["outcome"], item["completion_tokens"], "checkpointed" in item) == (
        "cancelled",
        0,
        False,
    )


async def test_a_response_that_its_client_does_not_read_is_ended(
    call: Call, sagemaker: StandIn, items: Any, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response whose client does not read is cancelled too."""
    monkeypatch.setattr(limits, "LAST_WRITE_TIMEOUT", 0.05)
    sagemaker.script = [FIRST, part(lines(WORLD)), asyncio.Event()]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply, stuck=asyncio.Event()))
    await reply.until_chunks(1)
    await marked.now()
    async with asyncio.timeout(60):
        with pytest.raises(ResponseBroken, match="cancelled"):
            await running
    assert ledger_item(items, reply)["outcome"] == "cancelled"


async def test_a_response_that_is_over_is_not_cancelled(
    call: Call, sagemaker: StandIn, items: Any, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel after the model has ended its response changes nothing."""
    requested = asyncio.Event()

    async def close(*given: Any, **named: Any) -> None:
        if not requested.is_set():
            await marked.now()
            requested.set()
        await closing(*given, **named)

    closing = settlements.settle
    monkeypatch.setattr(settlements, "settle", close)
    reply = await call(body=STREAM)
    assert text(reply) == "Hello world"
    item = ledger_item(items, reply)
    assert (item["outcome"], item["completion_tokens"], "cancel" in item) == ("complete", 2, False)


async def test_the_cost_of_looking_for_an_end(
    call: Call, sagemaker: StandIn, marked: Marked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each period makes one call: a write if there are new tokens, else a read."""
    monkeypatch.setattr(Switch, "is_due", False)
    made: list[str] = []
    inner = Table._call
    enough = asyncio.Event()

    def periods() -> tuple[list[str], list[str]]:
        """Return the calls before the first checkpoint, and those after it.

        The admission's three calls are left out. There may be no token before the checkpoint.
        """
        at = made.index("UpdateItem", 3)
        return made[3:at], made[at + 1 :]

    async def noted(table: Table, operation: str, *given: Any, **named: Any) -> Any:
        made.append(operation)
        if operation == "GetItem" and "UpdateItem" in made[3:] and len(periods()[1]) == 3:
            enough.set()
        return await inner(table, operation, *given, **named)

    monkeypatch.setattr(Table, "_call", noted)
    sagemaker.script = [FIRST, enough, REST]
    await call(body=STREAM)
    before, after = periods()
    assert set(before) <= {"GetItem"}
    assert after[:3] == ["GetItem"] * 3
