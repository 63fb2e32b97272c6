"""OpenAI's own client in its WebSocket mode, over a real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
import websockets
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter

from tests.support.function import FIRST, KEY, REST, StandIn

pytestmark = pytest.mark.usefixtures("account")
HEADERS = {"authorization": f"Bearer {KEY}"}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)


@asynccontextmanager
async def connection(server: str) -> AsyncIterator[Any]:
    """Open a socket by openai-python."""
    client = openai.AsyncOpenAI(api_key=KEY, base_url=f"http://{server}/v1", max_retries=0)
    async with client, client.responses.connect() as connected:
        yield connected


async def until(connected: Any, kind: str) -> list[Any]:
    """Return the events up to one of a type. Each is one of OpenAI's."""
    found: list[Any] = []
    async with asyncio.timeout(60):
        while not found or found[-1].type != kind:
            data = await connected.recv_bytes()
            EVENT.validate_json(data)
            found.append(connected.parse_event(data))
    return found


async def test_turns(server: str) -> None:
    """Turns of a conversation have OpenAI's events, and each goes on from the one before."""
    async with connection(server) as connected:
        await connected.response.create(model="m", input="Hi", store=False)
        events = await until(connected, "response.completed")
        assert "".join(it.delta for it in events if "text.delta" in it.type) == "Hello world"
        await connected.response.create(
            model="m", input="And?", store=False, previous_response_id=events[-1].response.id
        )
        again = (await until(connected, "response.completed"))[-1].response
    assert again.previous_response_id == events[-1].response.id
    assert again.output_text == "Hello world"


async def test_lanes_and_errors(server: str) -> None:
    """Lanes have their names on their events, and an error leaves the socket open."""
    async with connection(server) as connected:
        for lane in ("a", "b"):
            await connected.response.create(model="m", input="Hi", stream_id=lane)
        ended: set[str | None] = set()
        while ended != {"a", "b"}:
            event = (await until(connected, "response.completed"))[-1]
            ended.add(event.stream_id)
        await connected.response.create(model="?", input="Hi", stream_id="c")
        (error,) = await until(connected, "error")
        assert (error.status, error.error.code, error.stream_id) == (404, "model_not_found", "c")
        await connected.response.create(model="m", input="Hi")
        await until(connected, "response.completed")


async def test_cancel(server: str, sagemaker: StandIn) -> None:
    """A cancel, which is not of OpenAI's client, ends a response in the middle."""
    freed = asyncio.Event()

    async def cancel(_number: int) -> bool:
        freed.set()
        return True

    sagemaker.script = [FIRST, asyncio.Event()]
    sagemaker.cancel = cancel  # type: ignore[assignment,method-assign]
    async with connection(server) as connected:
        await connected.response.create(model="m", input="Hi")
        await until(connected, "response.output_text.delta")
        await connected.send_raw(json.dumps({"type": "response.cancel"}))
        (*_, end) = await until(connected, "response.failed")
        assert end.response.status == "cancelled"
        await asyncio.wait_for(freed.wait(), 60)


async def test_a_wrong_key(server: str) -> None:
    """The handshake of a wrong key is a 401 with OpenAI's error."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with websockets.connect(
            f"ws://{server}/v1/responses",
            additional_headers={"authorization": "Bearer x"},
        ):
            pass
    assert refused.value.response.status_code == 401
    assert json.loads(refused.value.response.body)["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("size", [1, 100, 100_000])
async def test_fragments(server: str, size: int) -> None:
    """A message may come in frames of any size. One over the limit is answered with 1009."""
    text = json.dumps({"type": "response.create", "model": "m", "input": "Hé", "x": "y" * size})
    async with websockets.connect(
        f"ws://{server}/v1/responses",
        additional_headers=HEADERS,
    ) as socket:
        await socket.send(text[start : start + size] for start in range(0, len(text), size))
        async with asyncio.timeout(60):
            while json.loads(await socket.recv())["type"] != "response.completed":
                pass
        await socket.send("x" * 1_000_001)
        with pytest.raises(websockets.ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_a_reader_that_stalls(server: str, sagemaker: StandIn) -> None:
    """A client that reads nothing keeps no other socket waiting."""
    url = f"ws://{server}/v1/responses"
    goes_on = asyncio.Event()

    def script(body: dict[str, Any]) -> Iterator[bytes | asyncio.Event]:
        yield FIRST
        if body["messages"][-1]["content"] == "slow":
            yield goes_on
        yield REST

    sagemaker.script_of = script

    async def completed(socket: websockets.ClientConnection) -> None:
        async with asyncio.timeout(60):
            while json.loads(await socket.recv())["type"] != "response.completed":
                pass

    create = {"type": "response.create", "model": "m"}
    async with websockets.connect(url, additional_headers=HEADERS, max_queue=1) as stalled:
        await stalled.send(json.dumps({**create, "input": "slow"}))
        async with websockets.connect(url, additional_headers=HEADERS) as other:
            await other.send(json.dumps({**create, "input": "fast"}))
            await completed(other)
        goes_on.set()
        await completed(stalled)
