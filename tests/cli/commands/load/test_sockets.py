"""The WebSocket form of the load test, over an API that speaks it, and that breaks off."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web
from aiohttp.test_utils import TestServer

from cli.commands.load.connection import Address
from cli.commands.load.endings import Ending
from cli.commands.load.forms import FORMS
from cli.commands.load.generator import Options, Run, generate
from cli.commands.load.plan import Ask, Planned

CREATED = {"type": "response.created", "response": {"id": "resp_1"}, "sequence_number": 0}
WORDS = [
    {"type": "response.output_text.delta", "delta": f" w{number}", "sequence_number": number}
    for number in (1, 2, 3)
]
USAGE = {"input_tokens": 7, "output_tokens": 3}
COMPLETED = {
    "type": "response.completed",
    "response": {"id": "resp_1", "status": "completed", "usage": USAGE},
    "sequence_number": 4,
}
FAILED = {"type": "response.failed", "response": {"error": {"code": "server_error"}}}
REFUSED = {"type": "error", "status": 429, "error": {"code": "rate_limit_exceeded"}}
ANSWERS: dict[str, tuple[list[Any], Ending]] = {
    "whole": ([CREATED, *WORDS, COMPLETED], Ending("complete")),
    "refused": ([REFUSED], Ending("refused", "429 rate_limit_exceeded")),
    "failed": ([CREATED, WORDS[0], FAILED], Ending("error", "server_error")),
    "an error later": ([CREATED, REFUSED], Ending("error", "rate_limit_exceeded")),
    "closed": ([CREATED, WORDS[0]], Ending("cut")),
    "closed at once": ([], Ending("cut", "before_status")),
    "no usage": ([CREATED, {**COMPLETED, "response": {"status": "completed"}}],
                 Ending("silent", "no_usage")),
    "no JSON": ([CREATED, "{"], Ending("malformed", "event_not_readable")),
    "binary": ([CREATED, b"{}"], Ending("malformed", "not_text")),
}  # fmt: skip


class API:
    """A stand-in of an API with sockets. The input of a request names what it gets."""

    def __init__(self) -> None:
        """Nothing was sent."""
        self.keys: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.closed = asyncio.Event()
        self.url = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request on a socket."""
        self.keys.append(request.headers["authorization"])
        if self.keys[-1] == "Bearer too-many":
            return web.json_response({"error": {"code": "websocket_limit_reached"}}, status=429)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        asked = json.loads(await socket.receive_str())
        self.messages.append(asked)
        if asked["type"] == "response.resume":
            events = [*WORDS, COMPLETED][asked["starting_after"] :]
        else:
            events = ANSWERS.get(asked["input"], ([CREATED, *WORDS], None))[0]
        for event in events:
            if isinstance(event, bytes):
                await socket.send_bytes(event)
            else:
                await socket.send_str(event if isinstance(event, str) else json.dumps(event))
        if asked.get("input") in ANSWERS or asked["type"] == "response.resume":
            await socket.close()
        else:
            assert (await socket.receive()).type is WSMsgType.CLOSE
            self.closed.set()
        return socket


@contextlib.asynccontextmanager
async def api() -> AsyncIterator[API]:
    """Yield a running API."""
    found = API()
    app = web.Application()
    app.router.add_get("/v1/responses", found.serve)
    async with TestServer(app) as server:
        found.url = f"http://127.0.0.1:{server.port}/v1"
        yield found


async def load(
    url: str, *prompts: str, key: str = "k", leave_after: int = 0, reader: Any = "normal"
) -> Run:
    """Send a request for each prompt, all at once."""
    plan = [
        Planned(at, 0.0, Ask(name, 16), reader=reader, leave_after=leave_after)
        for at, name in enumerate(prompts)
    ]
    sockets = f"{url}/responses".replace("http", "ws", 1)
    options = Options(Address.of(url), FORMS["websocket"], "m", [key], sockets=sockets)
    async with asyncio.timeout(60):
        return await generate(plan, options)


async def test_every_ending() -> None:
    """Each way in which an answer on a socket can end is told apart from all others."""
    async with api() as found:
        run = await load(found.url, *ANSWERS)
    seen = {name: it.ending for name, it in zip(ANSWERS, run.records, strict=True)}
    assert seen == {name: ending for name, (_, ending) in ANSWERS.items()}
    assert run.ttft.count == run.durations.count == 1
    assert run.connects.count == len(ANSWERS)


async def test_a_request_is_the_one_of_openai() -> None:
    """It has the key, the type and the body of the Responses API; its record has its id."""
    async with api() as found:
        run = await load(found.url, "whole")
    assert found.keys == ["Bearer k"]
    [asked] = found.messages
    assert (asked["type"], asked["model"], asked["input"]) == ("response.create", "m", "whole")
    [record] = run.records
    assert (record.request_id, record.chunks, record.tokens) == ("req_1", 3, 3)
    assert record.prompt_tokens == 7


async def test_a_handshake_that_is_refused() -> None:
    """Its status is the ending."""
    async with api() as found:
        run = await load(found.url, "whole", key="too-many")
    assert run.records[0].ending == Ending("refused", "429")


async def test_no_connection(unused_tcp_port: int) -> None:
    """A port at which nobody listens is told by the system's own words."""
    run = await load(f"http://127.0.0.1:{unused_tcp_port}/v1", "whole")
    assert run.records[0].ending == Ending("unreachable", "connection refused")


async def test_a_client_that_leaves() -> None:
    """A dropper closes its socket after so many chunks."""
    async with api() as found:
        run = await load(found.url, "goes on", reader="dropper", leave_after=2)
        await found.closed.wait()
    assert run.records[0].ending == Ending("dropped")
    assert run.records[0].chunks == 2


async def test_a_client_that_resumes() -> None:
    """A resumer leaves, and gets the rest on another socket, after the last number that it has."""
    async with api() as found:
        run = await load(found.url, "goes on", reader="resumer", leave_after=1)
    first, rest = found.messages
    assert first["sluice"] == {"durable": True}
    after = rest.pop("starting_after")
    assert rest == {"type": "response.resume", "response_id": "resp_1"}
    [record] = run.records
    assert (record.ending, record.resumed) == (Ending("complete"), True)
    assert record.chunks == 3
    assert 1 <= after <= 3


async def test_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow reader waits after each message, by its size, and gets all of them."""
    waited: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await real(0)

    monkeypatch.setattr("cli.commands.load.sockets.asyncio.sleep", sleep)
    async with api() as found:
        run = await load(found.url, "whole", reader="slow")
    assert run.records[0].ending == Ending("complete")
    assert len(json.dumps(CREATED)) / 256 in waited
