"""Sockets over the deployed local cloud: API Gateway, the socket function and the container."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from cli.commands.verify.checks import answers
from cli.commands.verify.registry import Check
from cli.lib import admin_api, stack
from cli.main import main
from local.cloud import LocalCloud
from tests.e2e.test_cancel import running
from tests.e2e.test_streaming import script, settled
from tests.support.deployments import SCRIPTED_MODEL, Deployment
from tests.support.faults import fault
from tests.support.openai_node import websocket_suite
from tests.support.sockets import web_sockets
from tests.support.verified import target_of

pytestmark = pytest.mark.e2e
ENDS = ("response.completed", "response.failed", "response.incomplete", "error")
SOCKETS, ANSWERED = 20, 6
"""How many sockets a key may have, and how many of them a test uses at once. Each of their lanes
has an environment of its own.
"""


@pytest.fixture
def sockets(sleeper: Deployment) -> Deployment:
    """Return a deployment with sockets, whose engine writes what a message says."""
    return sleeper


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Yield a client."""
    async with web_sockets() as opened:
        yield opened


async def connect(
    sockets: Deployment, session: aiohttp.ClientSession, query: str = "", **options: Any
) -> aiohttp.ClientWebSocketResponse:
    """Open a socket, with the key unless `query` has a ticket."""
    headers = {} if query else {"Authorization": f"Bearer {sockets.key}"}
    url = f"{sockets.outputs['WebSocketBaseUrl']}/responses{query}"
    opened: aiohttp.ClientWebSocketResponse = await session.ws_connect(
        url, headers=headers, **options
    )
    return opened


async def refused(sockets: Deployment, session: aiohttp.ClientSession, query: str = "") -> int:
    """Return the status with which a handshake is refused."""
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    if not query:
        headers["Authorization"] = f"Bearer {sockets.key}"
    base = sockets.outputs["WebSocketBaseUrl"].replace("ws", "http", 1)
    async with session.get(f"{base}/responses{query}", headers=headers) as response:
        return response.status


def create(count: int, rate: int = 0, **members: Any) -> dict[str, Any]:
    """Return a request for so many tokens, at a rate in tokens a second."""
    [message] = script(count=count, **({"rate": rate} if rate else {}))
    limit = {"max_output_tokens": max(count, 16)}
    return {
        "type": "response.create",
        "model": SCRIPTED_MODEL,
        "input": message["content"],
        **limit,
        **members,
    }


async def event(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """Return the next event."""
    async with asyncio.timeout(60):
        found: dict[str, Any] = json.loads(await socket.receive_str())
    return found


async def until_ends(socket: aiohttp.ClientWebSocketResponse, count: int) -> dict[str, list[Any]]:
    """Return the events of each lane until so many responses have ended."""
    lanes: dict[str, list[Any]] = defaultdict(list)
    while count:
        found = await event(socket)
        lanes[found.get("stream_id", "")].append(found)
        count -= found["type"] in ENDS
    return lanes


def text_of(events: list[dict[str, Any]]) -> str:
    """Return the text of a response, by its deltas."""
    return "".join(one.get("delta", "") for one in events)


async def test_a_socket_by_a_ticket(sockets: Deployment, session: aiohttp.ClientSession) -> None:
    """A ticket of the API opens one socket, on which two lanes are answered."""
    url = f"{sockets.origin}/v1/websocket/tickets"
    async with session.post(url, headers={"Authorization": f"Bearer {sockets.key}"}) as response:
        ticket = await response.json()
    assert ticket["url"] == f"{sockets.outputs['WebSocketBaseUrl']}/responses"
    socket = await connect(sockets, session, f"?ticket={ticket['ticket']}")
    for lane in ("a", "b"):
        await socket.send_json(create(30, stream_id=lane))
    lanes = await until_ends(socket, 2)
    for events in lanes.values():
        assert events[-1]["type"] == "response.completed"
        assert text_of(events) == events[-1]["response"]["output"][0]["content"][0]["text"]
    assert await refused(sockets, session, f"?ticket={ticket['ticket']}") == 401


async def test_cancel_frees_the_container(
    cloud: LocalCloud, sockets: Deployment, session: aiohttp.ClientSession
) -> None:
    """A cancel ends one of two lanes in the container, and its request is settled as cancelled."""
    socket = await connect(sockets, session)
    names: dict[str, str] = {}
    for lane in ("a", "b"):
        await socket.send_json(create(3000, 50, stream_id=lane, store=False))
    while len(names) < 2:
        found = await event(socket)
        if found["type"] == "response.created":
            names[found["stream_id"]] = found["response"]["id"].removeprefix("resp_")
    assert running(cloud, sockets) == [2]
    began = time.monotonic()
    await socket.send_json({"type": "response.cancel", "stream_id": "a"})
    while running(cloud, sockets) != [1]:
        assert time.monotonic() - began < 60
        await asyncio.sleep(0.005)
    print(f"from the cancel to the freed sequence: {time.monotonic() - began:.3f} s")
    lanes = await until_ends(socket, 1)
    assert lanes["a"][-1]["response"]["status"] == "cancelled"
    item = await asyncio.to_thread(settled, sockets, names["a"])
    assert item["outcome"] == "cancelled"
    await socket.close()
    item = await asyncio.to_thread(settled, sockets, names["b"])
    assert item["outcome"] == "cancelled"


async def test_many_sockets(sockets: Deployment, session: aiohttp.ClientSession) -> None:
    """A key may have so many sockets. With two lanes each, every response is whole, and in its
    order.
    """
    opened = [await connect(sockets, session) for _ in range(SOCKETS)]
    assert await refused(sockets, session) == 429

    async def answered(socket: aiohttp.ClientWebSocketResponse) -> None:
        lanes: dict[str, list[dict[str, Any]]] = {"a": [], "b": []}
        for lane in lanes:
            await socket.send_json(create(60, 60, stream_id=lane, store=False))
        while any(not events or events[-1]["type"] not in ENDS for events in lanes.values()):
            found = await event(socket)
            lane = found["stream_id"]
            if found["type"] == "error" and found["status"] == 503:
                # A busy machine's table did not answer in time: a client asks again.
                lanes[lane].clear()
                await socket.send_json(create(60, 60, stream_id=lane, store=False))
            else:
                lanes[lane].append(found)
        for events in lanes.values():
            assert events[-1]["type"] == "response.completed", events[-1]
            assert text_of(events) == events[-1]["response"]["output"][0]["content"][0]["text"]
            numbers = [one["sequence_number"] for one in events]
            assert numbers == sorted(numbers)
        await socket.close()

    await asyncio.gather(*map(answered, opened[:ANSWERED]))
    for socket in opened[ANSWERED:]:
        await socket.close()


async def test_a_frame_that_is_too_long(
    sockets: Deployment, session: aiohttp.ClientSession
) -> None:
    """A request that API Gateway does not take in one frame ends the socket with 1009."""
    socket = await connect(sockets, session)
    await socket.send_json({"type": "response.create", "input": "x" * 33_000})
    async with asyncio.timeout(60):
        await socket.receive()
    assert socket.close_code == 1009


async def test_events_that_come_twice_or_in_another_order(
    cloud: LocalCloud, sockets: Deployment, session: aiohttp.ClientSession
) -> None:
    """A request that is invoked twice is answered once; a lost one leaves the lane free."""
    socket = await connect(sockets, session)
    with fault(cloud, kind="message-repeated", scope="$default"):
        await socket.send_json(create(20, stream_id="a"))
        lanes = await until_ends(socket, 1)
    assert [one["type"] for one in lanes["a"]].count("response.created") == 1
    with fault(cloud, kind="message-dropped", scope="$default"):
        await socket.send_json(create(20, stream_id="a"))
    await socket.send_json(create(20, stream_id="a"))
    lanes = await until_ends(socket, 1)
    assert lanes["a"][-1]["type"] == "response.completed"


async def test_openai_python(sockets: Deployment) -> None:
    """OpenAI's SDK streams two lanes over the deployed socket, with the address as its base URL."""
    client = openai.AsyncOpenAI(
        base_url=f"{sockets.origin}/v1",
        websocket_base_url=sockets.outputs["WebSocketBaseUrl"],
        api_key=sockets.key,
    )
    texts: dict[str, str] = defaultdict(str)
    done: dict[str, str] = {}
    async with client, asyncio.timeout(60), client.responses.connect() as connection:
        for lane in ("a", "b"):
            request = {**create(30, stream_id=lane)}
            del request["type"]
            await connection.response.create(**request)
        async for found in connection:
            lane = found.stream_id or ""
            if found.type == "response.output_text.delta":
                texts[lane] += found.delta
            elif found.type == "response.completed":
                done[lane] = found.response.output_text
            else:
                assert found.type != "error", found
            if len(done) == 2:
                break
    assert dict(texts) == done
    assert done["a"]


@pytest.mark.clients
async def test_openai_node(sockets: Deployment) -> None:
    """OpenAI's SDK for Node passes its suite over the deployed socket."""
    asked = create(30)["input"]
    url = sockets.outputs["WebSocketBaseUrl"].replace("ws", "http", 1)
    await websocket_suite(url=url, key=sockets.key, model=SCRIPTED_MODEL, asked=asked)


def test_sluice_load(
    cloud: LocalCloud,
    sockets: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`sluice load` streams over sockets; droppers and resumers end as the ledger has them."""
    for module in (stack, admin_api):
        monkeypatch.setattr(module, "LOCAL", cloud.directory)
    for name in ("LOOP_MS", "LAG_MS", "CPU"):
        monkeypatch.setattr(f"cli.commands.load.summary.{name}", 1e9)
    line = (
        f"load --stack-name {sockets.name} --json --good 0 --settle 20s --form websocket "
        "--rate 5 --duration 2s --arrivals constant --max-tokens 12 --droppers 20% --resumers 20%"
    )
    status = main(line.split())
    out, err = capsys.readouterr()
    assert status == 0, err
    report = json.loads(out)
    assert {name for name, count in report["endings"].items() if count} <= {"complete", "dropped"}
    assert report["endings"]["complete"] > 0
    assert (report["ledger"]["by"], report["ledger"]["agrees"]) == ("request", True)


async def test_a_function_that_is_killed(
    cloud: LocalCloud, sockets: Deployment, session: aiohttp.ClientSession
) -> None:
    """Its response has one last event, though nobody asks; the next one of its lane is whole."""
    socket = await connect(sockets, session)
    call = {"operation": "PutItem", "containing": "S#0000000000"}
    table = sockets.outputs["StreamTableName"]
    with fault(cloud, kind="caller-killed-after", scope=table, count=1, **call):
        await socket.send_json(create(600, 20, stream_id="a"))
        await socket.send_json(create(20, stream_id="a"))
        lanes = await until_ends(socket, 2)
    kinds = [one["type"] for one in lanes["a"] if one["type"] in ENDS]
    assert kinds == ["response.failed", "response.completed"]


ROWS = [check for check in answers.CHECKS if check.id != "webhook"]
"""The rows about answers. test_verify proves that of the webhook."""


@pytest.mark.parametrize("check", ROWS, ids=[check.id for check in ROWS])
def test_checks_of_sluice_verify(
    cloud: LocalCloud, sockets: Deployment, check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sluice verify` proves its rows about sockets, background answers and conversations."""
    [slow] = script(count=400, rate=20)
    monkeypatch.setattr(answers, "LONG_INPUT", slow["content"])
    target = target_of(cloud, sockets)
    target.key = sockets.key
    outcome = check.run(target)
    assert outcome.verdict == "proven", outcome.evidence
