"""Sockets where responses are kept: resumed, gone on from, and finished without their client."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from tests.support.asgi_sockets import CREATE, Connect, Socket
from tests.support.function import FIRST, REST, StandIn

pytestmark = pytest.mark.usefixtures("account")
DURABLE = {**CREATE, "sluice": {"durable": True}}


@pytest.fixture
def keeping(make_connect: Callable[..., Connect], streams: Any) -> Connect:
    """Return a function that opens sockets of a deployment that keeps responses."""
    return make_connect(stream_table=streams.name, store_default=False)


async def begun(socket: Socket) -> str:
    """Wait for the first token of a response, and return the response's id."""
    event = await socket.event()
    response_id: str = event["response"]["id"]
    while event["type"] != "response.output_text.delta":
        event = await socket.event()
    return response_id


async def test_resume_elsewhere(keeping: Connect, sagemaker: StandIn) -> None:
    """A logged response goes on when its socket breaks, and another socket reads the rest."""
    goes_on = asyncio.Event()
    sagemaker.script = [FIRST, goes_on, REST]

    async def leave() -> str:
        async with keeping() as socket:
            socket.put({**DURABLE, "stream_id": "a"})
            response_id = await begun(socket)
            socket.leave()
            goes_on.set()
        return response_id

    response_id = await leave()
    assert sagemaker.cancelled == []
    async with keeping() as socket:
        resume = {"type": "response.resume", "response_id": response_id}
        socket.put({**resume, "starting_after": 3, "stream_id": "b"})
        events = await socket.events("b")
        assert events[0]["sequence_number"] == 4
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "Hello world"
        socket.put(resume)
        whole = await socket.events()
        assert [it["sequence_number"] for it in whole] == list(range(len(whole)))
        assert [{**it, "stream_id": "b"} for it in whole[4:]] == events


async def test_resume_behind_the_end(keeping: Connect) -> None:
    """A client that has everything of a response gets nothing more, and its lane is free."""
    async with keeping() as socket:
        socket.put(DURABLE)
        end = (await socket.events())[-1]
        resume = {"type": "response.resume", "response_id": end["response"]["id"]}
        socket.put({**resume, "starting_after": end["sequence_number"], "stream_id": "a"})
        socket.put({**CREATE, "stream_id": "a"})
        assert (await socket.events("a"))[-1]["type"] == "response.completed"


async def test_a_reader_that_is_replaced(
    keeping: Connect, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lane whose reading ends before the response does is told so."""
    sagemaker.script = [FIRST, asyncio.Event()]
    async with keeping() as first, keeping() as second:
        first.put(DURABLE)
        response_id = await begun(first)
        monkeypatch.setattr(limits, "STREAM_DEADLINE", 0.0)  # of the reading from now on
        second.put({"type": "response.resume", "response_id": response_id})
        error = (await second.events())[-1]
        assert (error["status"], error["error"]["code"]) == (503, "response_interrupted")
        first.put({"type": "response.cancel"})
        await first.events()


async def test_cancel_of_a_resumed_response(keeping: Connect, sagemaker: StandIn) -> None:
    """A lane that resumes a response cancels it, and gets its end."""
    sagemaker.script = [FIRST, asyncio.Event()]
    async with keeping() as first, keeping() as second:
        first.put(DURABLE)
        response_id = await begun(first)
        second.put({"type": "response.resume", "response_id": response_id, "stream_id": "b"})
        while (await second.event())["type"] != "response.output_text.delta":
            pass
        second.put({"type": "response.cancel", "stream_id": "b"})
        for socket, lane in ((second, "b"), (first, None)):
            end = (await socket.events(lane))[-1]
            assert (end["type"], end["response"]["status"]) == ("response.failed", "cancelled")
    assert sagemaker.cancelled


async def test_resume_of_others(keeping: Connect, connect: Connect) -> None:
    """What the key does not have, and what was kept without events, cannot be resumed."""
    async with keeping() as socket:
        for response_id in ("resp_x", "resp_" + "0" * 26):
            socket.put({"type": "response.resume", "response_id": response_id, "stream_id": "a"})
            (error,) = await socket.events("a")
            assert (error["status"], error["error"]["code"]) == (404, "response_not_found")
        socket.put({**CREATE, "store": True})
        response_id = (await socket.events())[-1]["response"]["id"]
        socket.put({"type": "response.resume", "response_id": response_id})
        (error,) = await socket.events()
        assert error["error"]["code"] == "not_streamable"
    async with connect() as socket:
        socket.put({"type": "response.resume", "response_id": response_id})
        (error,) = await socket.events()
        assert error["error"]["code"] == "response_not_found"


async def test_continuation_of_stored_responses(keeping: Connect, sagemaker: StandIn) -> None:
    """A stored response can be gone on from on another socket, and so can what follows it."""
    async with keeping() as socket:
        socket.put({**CREATE, "input": "first", "store": True})
        first = (await socket.events())[-1]["response"]
        assert first["store"] is True
    async with keeping() as socket:
        socket.put({**CREATE, "input": "second", "previous_response_id": first["id"]})
        second = (await socket.events())[-1]["response"]
        item = {"type": "item_reference", "id": first["output"][0]["id"]}
        third = [item, {"role": "user", "content": "third"}]
        socket.put({**CREATE, "input": third, "previous_response_id": second["id"]})
        await socket.events()
    asked = [it["content"] for it in sagemaker.bodies[-1]["messages"]]
    assert asked == ["first", "Hello world", "second", "Hello world", "Hello world", "third"]


async def test_warm_up_is_not_kept(keeping: Connect, sagemaker: StandIn) -> None:
    """A response without output is remembered by its socket only, even if it asks to be kept."""
    async with keeping() as socket:
        socket.put({**CREATE, "input": "first", "store": True})
        first = (await socket.events())[-1]["response"]["id"]
        warm = {**CREATE, "input": "context", "generate": False, "store": True}
        socket.put({**warm, "previous_response_id": first})
        response = (await socket.events())[-1]["response"]
        assert (response["store"], response["previous_response_id"]) == (False, first)
        socket.put({**CREATE, "input": "third", "previous_response_id": response["id"]})
        await socket.events()
    asked = [it["content"] for it in sagemaker.bodies[-1]["messages"]]
    assert asked == ["first", "Hello world", "context", "third"]
    async with keeping() as socket:
        socket.put({**CREATE, "previous_response_id": response["id"]})
        (error,) = await socket.events()
        assert error["error"]["code"] == "previous_response_not_found"


async def test_warm_up_of_a_conversation(keeping: Connect) -> None:
    """It is refused: what goes on from it would not have the items of the conversation."""
    async with keeping() as socket:
        socket.put({**CREATE, "generate": False, "conversation": "conv_" + "0" * 26})
        (error,) = await socket.events()
        assert (error["error"]["param"], error["status"]) == ("generate", 400)
