"""OpenAI's own client in its WebSocket mode, over a real server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
import uvicorn
import websockets
from openai.types.responses import ResponsesServerEvent
from pydantic import TypeAdapter

from tests.support.asgi_sockets import Connect
from tests.support.function import FIRST, KEY, ORIGIN, REST, StandIn

pytestmark = pytest.mark.usefixtures("account")
HEADERS = {"x-sluice-origin-secret": ORIGIN}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponsesServerEvent)


@pytest.fixture
async def server(make_connect: Callable[..., Connect]) -> AsyncIterator[str]:
    """Run uvicorn with the application, and yield its address without a scheme."""
    config = uvicorn.Config(
        make_connect().app,  # type: ignore[attr-defined]
        port=0,
        log_level="warning",
        lifespan="off",
        ws_max_size=1_000_000,
        ws="websockets-sansio",
    )
    uvicorn_server = uvicorn.Server(config)
    uvicorn_server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    config.load()
    uvicorn_server.lifespan = config.lifespan_class(config)
    await uvicorn_server.startup()
    port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
    yield f"127.0.0.1:{port}"
    await uvicorn_server.shutdown()


@asynccontextmanager
async def connection(server: str) -> AsyncIterator[Any]:
    """Open a socket by openai-python."""
    client = openai.AsyncOpenAI(
        api_key=KEY, base_url=f"http://{server}/v1", default_headers=HEADERS, max_retries=0
    )
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
        ended = set()
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
    sagemaker.cancel = cancel  # type: ignore[method-assign]
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
            additional_headers={**HEADERS, "authorization": "Bearer x"},
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
        additional_headers={**HEADERS, "authorization": f"Bearer {KEY}"},
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
    """A client that stops reading keeps no other socket waiting."""
    headers = {**HEADERS, "authorization": f"Bearer {KEY}"}
    url = f"ws://{server}/v1/responses"
    create = json.dumps({"type": "response.create", "model": "m", "input": "Hi"})
    goes_on = asyncio.Event()
    sagemaker.script_of = lambda body: (
        FIRST,
        *([goes_on] if len(sagemaker.bodies) == 1 else []),
        REST,
    )
    async with websockets.connect(url, additional_headers=headers, max_queue=1) as stalled:
        await stalled.send(create)
        async with websockets.connect(url, additional_headers=headers) as other:
            await other.send(create)
            async with asyncio.timeout(60):
                while json.loads(await other.recv())["type"] != "response.completed":
                    pass
        goes_on.set()
        async with asyncio.timeout(60):
            while json.loads(await stalled.recv())["type"] != "response.completed":
                pass
