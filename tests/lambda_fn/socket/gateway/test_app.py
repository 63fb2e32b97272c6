"""The socket function over the local cloud's WebSocket API, moto and a stand-in for the model."""

import asyncio
import dataclasses
import json
import time
from typing import Any

import aiohttp
import pytest

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.ids import hash_key
from lambda_fn.settings import Redaction
from lambda_fn.socket.gateway.app import Gateway
from lambda_fn.socket.gateway.control import CLOSERS, FLOOD, MOST, Control
from lambda_fn.socket.gateway.posts import Posts
from lambda_fn.socket.gateway.state import State
from lambda_fn.socket.gateway.store import ATTEMPTS, SPAN, Contended, Frame, Socket, Store
from lambda_fn.socket.lanes import MAX_RUNNING
from lambda_fn.stream_log.keys import VERSION
from lambda_fn.stream_log.tickets import make_ticket
from tests.support.function import (
    CREDENTIALS,
    FIRST,
    KEY,
    KEY_ID,
    REST,
    WORLD,
    StandIn,
    lines,
    part,
)
from tests.support.gateway_sockets import Sockets, create, text_of, until, until_end
from tests.support.kept import Kept

LIMIT_REACHED = "websocket_message_limit_reached"
SECRETS = [f"secret-{number}" for number in range(3)]


async def test_a_response(sockets: Sockets, sagemaker: StandIn) -> None:
    """A request is answered with the events of the Responses API, each a message, in order."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create())
    events = await until_end(socket)
    assert [events[0]["type"], events[-1]["type"]] == ["response.created", "response.completed"]
    assert text_of(events) == "Hello world"
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(numbers)
    assert all("stream_id" not in event for event in events)
    await socket.close()
    await sockets.at_rest()


@pytest.mark.parametrize("cut", range(1, len("ada@example.com")))
async def test_what_is_redacted_is_in_no_message(
    sockets: Sockets, sagemaker: StandIn, cut: int
) -> None:
    """An address, cut at every place, is in no event, and neither are its parts."""
    settings = dataclasses.replace(sockets.settings, redaction=Redaction(kinds=("email",)))
    sockets.gateway = Gateway(settings, sockets.http, lambda: CREDENTIALS)
    secret = "ada@example.com"
    pieces = ("To ", secret[:cut], secret[cut:], ".")
    deltas = [{**WORLD, "delta": {"content": piece}} for piece in pieces]
    sagemaker.script = [FIRST, *(part(lines(it)) for it in deltas), REST]
    socket = await sockets.open()
    await socket.send_json(create())
    events = await until_end(socket)
    assert text_of(events) == "HelloTo [EMAIL]. world"
    assert "example" not in json.dumps(events)
    await socket.close()
    await sockets.at_rest()


async def test_messages_are_not_kept(sockets: Sockets, sagemaker: StandIn, streams: Any) -> None:
    """A message is in the table while it waits for its lane, whatever becomes of it then."""

    def kept() -> list[str]:
        items = [item for item in streams.scan()["Items"] if item["pk"].startswith("C#")]
        return [text for text in SECRETS if text in str(items)]

    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(input=SECRETS[0]))
    await until(socket, "response.output_text.delta")
    for number, text in enumerate(SECRETS[1:], 2):
        await socket.send_json(create(input=text))
        await sockets.invoked(number)
    while len(sockets.tasks) > 1:  # the others wait for their lane
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert kept() == SECRETS[1:]
    held.set()
    await until_end(socket, len(SECRETS))
    await sockets.at_rest()
    assert kept() == []

    held.clear()
    await socket.send_json(create(input="Hi"))
    await until(socket, "response.output_text.delta")
    await socket.send_json(create(input=SECRETS[0]))
    await sockets.invoked(len(SECRETS) + 2)
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert kept() == SECRETS[:1]
    await socket.close()
    await sockets.invoked(len(SECRETS) + 3)
    held.set()
    await sockets.at_rest()
    assert kept() == []


@pytest.mark.parametrize("end", ["flood", "expiry", "upgrade"])
async def test_a_message_is_not_kept_whose_socket_ends(
    sockets: Sockets, streams: Any, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Nothing of it stays if others end the socket while the message is taken."""
    claim = Store.claim

    async def claimed(store: Store, socket: Socket, frame: Frame) -> bool:
        is_new = await claim(store, socket, frame)
        await store.change(socket.connection_id, State.flood)
        if end != "flood":
            changes = {"expiry": {"expires": 1}, "upgrade": {"v": VERSION + 1}}[end]
            streams.put_item(Item=found(socket.item["pk"])[0] | {"n": 9} | changes)
        return is_new

    def found(key: str) -> list[dict[str, Any]]:
        return [item for item in streams.scan()["Items"] if item["pk"] == key and "state" in item]

    monkeypatch.setattr(Store, "claim", claimed)
    socket = await sockets.open()
    await socket.send_json(create(input=SECRETS[0]))
    await sockets.invoked(1)
    await sockets.at_rest()
    assert SECRETS[0] not in str(streams.scan()["Items"])


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no JSON", None),
        ("[]", None),
        ('{"type": "response.create"', None),
        ({"type": "response.unknown"}, "invalid_value"),
        ({"type": "response.create", "stream_id": ""}, "invalid_stream_id"),
        (create(model="other"), "model_not_found"),
        (create(background=True), "unsupported_parameter"),
        (create(generate=False, model="other"), "model_not_found"),
        (create(temperature=9), None),
        ({"type": "response.resume", "response_id": "resp_x"}, "response_not_found"),
        (create(previous_response_id="resp_x"), "previous_response_not_found"),
    ],
)
async def test_a_bad_message(
    sockets: Sockets, sagemaker: StandIn, message: Any, code: str | None
) -> None:
    """A message that cannot be answered is an error event; the next one is answered."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await (socket.send_str(message) if isinstance(message, str) else socket.send_json(message))
    [error] = await until_end(socket)
    assert error["type"] == "error"
    assert 400 <= error["status"] < 500
    assert code is None or error["error"]["code"] == code
    await socket.send_json(create())
    assert (await until_end(socket))[-1]["type"] == "response.completed"
    await sockets.at_rest()


async def test_a_log_that_answers_late(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response whose log did not tell its end in time is read to its end from the log."""
    monkeypatch.setattr(limits, "LOG_END_TIMEOUT", 0.0)
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create())
    events = await until_end(socket)
    assert events[-1]["type"] == "response.completed"
    assert text_of(events) == "Hello world"
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    await sockets.at_rest()


async def test_a_fallback(sockets: Sockets, sagemaker: StandIn) -> None:
    """What a fallback answers can be cancelled by its own id, and gone on from."""
    held = asyncio.Event()
    sagemaker.busy, sagemaker.script = {"endpoint-1"}, [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(store=False))
    name = (await until(socket, "response.created"))["response"]["id"]
    await until(socket, "response.output_text.delta")
    sockets.gateway = Control(sockets.settings, sockets.http, lambda: CREDENTIALS)  # elsewhere
    await socket.send_json({"type": "response.cancel", "response_id": name})
    [*_, failed] = await until_end(socket)
    assert (failed["response"]["id"], failed["response"]["status"]) == (name, "cancelled")
    await sockets.at_rest()
    held.set()
    sockets.gateway = sockets.answering
    await socket.send_json(create(store=False))
    first = (await until_end(socket))[-1]["response"]
    await sockets.at_rest()
    await socket.send_json(create(store=False, previous_response_id=first["id"], input="More"))
    assert (await until_end(socket))[-1]["type"] == "response.completed"
    await sockets.at_rest()


async def test_resuming(sockets: Sockets, sagemaker: StandIn) -> None:
    """A response is sent again from behind an event, on a new connection."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create())
    events = await until_end(socket)
    await socket.close()
    again = await sockets.open()
    at = events[1]["sequence_number"]
    name = events[0]["response"]["id"]
    resume = {"type": "response.resume", "response_id": name, "starting_after": at}
    await again.send_json({**resume, "stream_id": "r"})
    rest = await until_end(again)
    assert [event["type"] for event in rest] == [event["type"] for event in events[2:]]
    assert text_of(rest) == "Hello world"
    assert {event["stream_id"] for event in rest} == {"r"}
    await sockets.at_rest()


@pytest.mark.parametrize(
    ("members", "stays"),
    [
        ({"store": True}, True),
        ({"store": False}, False),
        ({"store": False, "sluice": {"durable": True}}, True),
    ],
)
async def test_a_client_that_leaves(
    sockets: Sockets, sagemaker: StandIn, members: dict[str, Any], stays: bool, streams: Any
) -> None:
    """A stored or durable response goes on without its client. Another one is cancelled."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(**members))
    name = (await until(socket, "response.created"))["response"]["id"].removeprefix("resp_")
    await until(socket, "response.output_text.delta")
    await socket.close()
    while len(sockets.tasks) > 1 or (not stays and sockets.tasks):
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    held.set()
    await sockets.at_rest()
    head = streams.get_item(Key={"pk": f"R#{name}", "sk": "HEAD"})["Item"]
    assert head["status"] == ("completed" if stays else "cancelled")


async def test_handshakes(sockets: Sockets, kept: Kept) -> None:
    """A handshake needs a key that may be used, or a ticket, once."""

    async def status(query: str = "", **options: Any) -> int:
        try:
            await (await sockets.plane.connect(query, **options)).close()
        except aiohttp.WSServerHandshakeError as error:
            return error.status
        return 101

    assert await status() == 401
    assert await status(headers={"Authorization": "Bearer sk-wrong"}) == 401
    assert await status(headers={"x-api-key": KEY}) == 101
    caller = Caller(key_id=KEY_ID, key_hash=hash_key(KEY))
    ticket, _ = await make_ticket(kept.table, caller, now=time.time())
    assert await status(f"?ticket={ticket}") == 101
    assert await status(f"?ticket={ticket}") == 401
    ticket, _ = await make_ticket(kept.table, caller, now=time.time())
    assert await status(protocols=("sluice", f"ticket.{ticket}")) == 101
    revoked = Caller(key_id=KEY_ID, key_hash="another")
    ticket, _ = await make_ticket(kept.table, revoked, now=time.time())
    assert await status(f"?ticket={ticket}") == 401
    await sockets.at_rest()


async def test_a_flood(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages over the rate are refused one by one, and then the socket is closed.

    What it had sent before is dropped without a call, so that other sockets do not wait for it.
    """
    socket = await sockets.open()
    closed: list[dict[str, Any]] = []

    async def send() -> None:
        while True:
            await socket.send_str("{}")
            await asyncio.sleep(0.002)

    sending = asyncio.create_task(send())
    async with asyncio.timeout(60):
        while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            closed.append(json.loads(message.data)["error"])
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert LIMIT_REACHED in {error["code"] for error in closed}
    await sockets.at_rest()
    events = [event for _, event in sockets.invocations]
    messages = [event for event in events if event["requestContext"]["eventType"] == "MESSAGE"]
    monkeypatch.setattr(sockets.answering, "_store", None)
    monkeypatch.setattr(sockets.answering, "_posts", None)
    await sockets._invoke(messages[-1])


async def test_a_flood_at_once(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen by one call for each message, and the socket is closed by one function.

    The messages that would change the socket are no more than it may send.
    """
    changes, closed, tells = list[str](), list[str](), list[str]()
    came = list[dict[str, Any]]()
    change, close = Store.changed, Posts.close

    async def changed(store: Store, connection_id: str, *args: Any, **options: Any) -> Any:
        changes.append(connection_id)
        return await change(store, connection_id, *args, **options)

    async def close_once(posts: Posts, connection_id: str) -> bool:
        closed.append(connection_id)
        return await close(posts, connection_id)

    async def keep(event: dict[str, Any]) -> None:
        came.append(event)

    async def tell(_posts: Posts, connection_id: str, _data: bytes) -> None:
        tells.append(connection_id)

    monkeypatch.setattr(Store, "changed", changed)
    monkeypatch.setattr(Posts, "close", close_once)
    invoke = sockets._invoke
    monkeypatch.setattr(sockets, "_invoke", keep)
    socket = await sockets.open()
    count = FLOOD + 30
    for _ in range(count):
        await socket.send_str("{}")
    await sockets.invoked(count)
    await sockets.at_rest()
    messages = list(came)
    for event in messages:
        event["requestContext"]["requestTimeEpoch"] = 1_000 * int(time.time())
    await asyncio.gather(*map(invoke, messages))
    assert 1 <= len(closed) <= CLOSERS
    assert len(changes) <= MOST + 2 * CLOSERS
    async with asyncio.timeout(60):
        while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
    await sockets.at_rest()
    # What Lambda could not run in time is told of to the control function. It says nothing.
    late = messages[-1]
    late["requestContext"]["messageId"] = "late"
    monkeypatch.undo()
    monkeypatch.setattr(Posts, "post", tell)
    await sockets.told(("r1", late), begun=False)
    monkeypatch.setattr(sockets.control, "_store", None)
    await sockets.told(("r2", late), begun=False)
    assert tells == []


@pytest.mark.parametrize("counts", [(FLOOD + CLOSERS,), (FLOOD,)])
async def test_a_flood_whose_socket_nobody_closed(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch, counts: tuple[int, ...]
) -> None:
    """Its messages are dropped while it lasts. The socket then serves, and the next flood ends it.

    A count is lost with its function, or the call that closes the socket fails.
    """
    socket = await sockets.open()
    await socket.send_str("{}")
    await socket.receive()
    event = sockets.invocations[-1][1]
    began = int(time.time()) // SPAN
    counted = iter([*counts, 1, FLOOD + 1])

    async def count(*_: Any) -> int:
        return next(counted)

    async def throttled(*_: Any) -> int:
        return 429

    async def send(name: str, span: int) -> None:
        when = 1_000 * SPAN * (began + span)
        event["requestContext"].update(messageId=name, requestTimeEpoch=when)
        await sockets._invoke(event)

    monkeypatch.setattr(Store, "count", count)
    with monkeypatch.context() as patch:
        patch.setattr(limits, "META_BACKOFF", 0.0)
        patch.setattr(Posts, "_call", throttled)
        await send("m1", 0)
    await send("m2", 0)  # not counted
    await send("m3", 1)
    codes = [json.loads(await socket.receive_str())["error"]["code"]]
    await send("m4", 2)
    while (message := await socket.receive()).type is aiohttp.WSMsgType.TEXT:
        codes.append(json.loads(message.data)["error"]["code"])
    assert codes.count("missing_required_parameter") == 1


async def test_a_socket_that_is_changed_all_the_time(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message is refused. After some they are counted only, so that a flood is seen."""
    attempts: list[int] = []

    async def changed(*_args: Any, **options: Any) -> Any:
        attempts.append(options["attempts"])
        raise Contended

    socket = await sockets.open()
    monkeypatch.setattr(Store, "changed", changed)
    await socket.send_json(create())
    assert json.loads(await socket.receive_str())["error"]["code"] == LIMIT_REACHED
    event = sockets.invocations[-1][1]
    attempts.clear()
    later = 1_000 * SPAN * (int(time.time()) // SPAN + 1)
    for number in range(MAX_RUNNING + 3):
        event["requestContext"].update(messageId=f"m{number}", requestTimeEpoch=later)
        await sockets._invoke(event)
        assert json.loads(await socket.receive_str())["error"]["code"] == LIMIT_REACHED
    assert attempts == [ATTEMPTS] * MAX_RUNNING
    await sockets.at_rest()


async def test_a_message_that_waited_too_long(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that Lambda kept for over a minute is not answered any more, and that is told."""
    monkeypatch.setattr(limits, "MESSAGE_AGE", -1.0)
    socket = await sockets.open()
    await socket.send_json(create(stream_id="a"))
    [error] = await until_end(socket)
    assert (error["status"], error["error"]["code"]) == (503, "server_overloaded")
    await sockets.at_rest()


async def test_long_answers_are_gathered(sockets: Sockets, sagemaker: StandIn) -> None:
    """Tokens that come while a post is under way go together, and nothing is lost."""
    record = b'{"type":"delta","index":0,"delta":{"content":"ab "},"tokens":1}\n'
    sagemaker.script = [FIRST, *[part(record)] * 60, REST]
    socket = await sockets.open()
    await socket.send_json(create(max_output_tokens=90))
    events = await until_end(socket)
    assert text_of(events) == "Hello" + "ab " * 60 + " world"
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert len(deltas) < 30
    await sockets.at_rest()
