"""Several requests in one: each is answered, metered and refused by itself."""

import asyncio
import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from lambda_fn.stream.admit import Gate
from lambda_fn.stream.endpoints.multiplex import _MemberSink, _Stream
from tests.support.function import (
    FIRST,
    KEY_ID,
    REST,
    WORLD,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)

pytestmark = pytest.mark.usefixtures("account")
PATH = "/v1/sluice/multiplex"
CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"


def chat(name: str, **changes: Any) -> dict[str, Any]:
    """Return a member that is a chat."""
    body = {"model": "m", "messages": [{"role": "user", "content": name}], "max_tokens": 10}
    return {"stream_id": name, "endpoint": CHAT, "body": {**body, **changes}}


def response(name: str, **changes: Any) -> dict[str, Any]:
    """Return a member that is a response."""
    body = {"model": "m", "input": name, "max_output_tokens": 20, **changes}
    return {"stream_id": name, "endpoint": RESPONSES, "body": body}


def events(body: bytes) -> list[dict[str, Any]]:
    """Return the events of a whole answer."""
    blocks = body.decode().split("\n\n")
    assert blocks[-2:] == ["data: [DONE]", ""]
    data = [block.partition("data: ")[2] for block in blocks[:-2] if not block.startswith(":")]
    assert "[DONE]" not in data
    return [json.loads(it) for it in data]


def of(name: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events of one member. The last one says that it is done."""
    own = [event for event in found if event["stream_id"] == name]
    assert own[-1] == {"stream_id": name, "done": True}
    return own[:-1]


def ledger(items: Any) -> list[dict[str, Any]]:
    """Return all ledger items of the key."""
    found = items.scan()["Items"]
    return [it for it in found if it["pk"].startswith("LEDGER#") and it["key"] == KEY_ID]


async def test_members(call: Call, items: Any) -> None:
    """Chats and responses come side by side, and each one has a ledger item of its own."""
    before = {it["sk"] for it in ledger(items)}
    asked = {"requests": [chat("a"), response("b"), chat("c", stream=False)]}
    reply = await call(path=PATH, body=asked)
    assert (reply.status, reply.headers["content-type"]) == (
        200,
        "text/event-stream; charset=utf-8",
    )
    found = events(reply.body)
    for name in ("a", "c"):
        chunks = of(name, found)
        text = "".join(it["choices"][0]["delta"].get("content", "") for it in chunks)
        assert text == "Hello world"
    assert [it["sequence_number"] for it in of("b", found)] == list(range(len(of("b", found))))
    assert of("b", found)[-1]["type"] == "response.completed"
    made = [it for it in ledger(items) if it["sk"] not in before]
    assert [(it["state"], it["completion_tokens"]) for it in made] == [("SETTLED", 2)] * 3


async def test_an_error_leaves_the_others_alone(call: Call) -> None:
    """A member that is refused gets its error in its own form, and the others their answers."""
    asked = {"requests": [chat("a", model="?"), response("b", temperature=9), chat("c")]}
    found = events((await call(path=PATH, body=asked)).body)
    (chat_error,) = of("a", found)
    assert (chat_error["status"], chat_error["error"]["code"]) == (404, "model_not_found")
    (response_error,) = of("b", found)
    assert (response_error["type"], response_error["error"]["param"]) == ("error", "temperature")
    assert len(of("c", found)) > 2


async def test_a_fault_of_one_member_stops_all_that_wait(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Members that wait for all others do not wait for one that has failed within this service."""
    admit = Gate.admit

    async def fail_once(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(Gate, "admit", admit)
        raise ZeroDivisionError

    monkeypatch.setattr(Gate, "admit", fail_once)
    asked = {"requests": [chat("a"), chat("b")], "all_or_none": True}
    reply = await asyncio.wait_for(call(path=PATH, body=asked), 60)
    assert (reply.status, reply.error["code"]) == (500, "internal_error")


async def test_all_or_none(call: Call, sagemaker: StandIn, items: Any) -> None:
    """If all or none are wanted, one that is refused is the error of all, and none is begun."""
    before = {it["sk"] for it in ledger(items)}
    asked = {"requests": [chat("a"), chat("b", model="?")], "all_or_none": True}
    reply = await call(path=PATH, body=asked)
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    assert reply.error["param"] == "requests[1].body.model"
    assert sagemaker.bodies == []
    (settled,) = [it for it in ledger(items) if it["sk"] not in before]
    assert (settled["state"], settled["outcome"]) == ("SETTLED", "refused")
    everything = {"requests": [chat("a"), response("b")], "all_or_none": True}
    found = events((await call(path=PATH, body=everything)).body)
    assert of("a", found)
    assert of("b", found)


async def test_a_repeat_is_no_member_to_wait_for(
    make_call: Callable[..., Call], streams: Any, sagemaker: StandIn
) -> None:
    """A member that gets the response to an earlier request begins with the others, or not."""
    logging, more = make_call(stream_table=streams.name), {"idempotency-key": "k"}
    events((await logging(path=PATH, body={"requests": [chat("a")]}, more=more)).body)
    refused = {"requests": [chat("a"), chat("b", model="?")], "all_or_none": True}
    reply = await asyncio.wait_for(logging(path=PATH, body=refused, more=more), 60)
    assert (reply.status, reply.error["code"]) == (404, "model_not_found")
    asked = {"requests": [chat("a"), chat("b")], "all_or_none": True}
    reply = await asyncio.wait_for(logging(path=PATH, body=asked, more=more), 60)
    assert of("a", events(reply.body))
    assert of("b", events(reply.body))
    assert len(sagemaker.bodies) == 2


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        ({"requests": []}, 400, "requests"),
        ({"requests": [chat(f"m{number}") for number in range(17)]}, 400, "requests"),
        ({"requests": [chat("a"), chat("a")]}, 400, "requests[1].stream_id"),
        ({"requests": [{**chat("a"), "stream_id": "a\n"}]}, 400, "requests[0].stream_id"),
        ({"requests": [{**chat("a"), "stream_id": ""}]}, 400, "requests[0].stream_id"),
        ({"requests": [{**chat("a"), "endpoint": "/v1/embeddings"}]}, 400, "requests[0].endpoint"),
        ({"requests": [{**chat("a"), "body": []}]}, 400, "requests[0].body"),
        ({"requests": [{"stream_id": "a", "endpoint": CHAT}]}, 400, "requests[0].body"),
        (
            {"requests": [response("a", background=True)]},
            400,
            "requests[0].body.background",
        ),
        (b'{"requests": [' + b" " * 1_000_000 + b"]}", 413, None),
    ],
)
async def test_invalid(call: Call, body: Any, status: int, param: str | None) -> None:
    """A request that is wrong as a whole is refused as a whole, and the error names the member."""
    reply = await call(path=PATH, body=body)
    assert (reply.status, reply.error["param"]) == (status, param)


async def test_nul_in_a_member_is_named(call: Call) -> None:
    """A member's body is looked into, too."""
    asked = {"requests": [chat("a"), chat("b", user="\0"), {**chat("c"), "unread": "\0"}]}
    reply = await call(path=PATH, body=asked)
    assert (reply.status, reply.error["param"]) == (400, "requests[1].body.user")
    reply = await call(path=PATH, body={"requests": [chat("a"), {**chat("c"), "unread": "\0"}]})
    assert reply.status == 200


async def test_empty_bodies(call: Call) -> None:
    """A member without anything in its body has the error that it has alone."""
    asked = {"requests": [{"stream_id": "a", "endpoint": CHAT, "body": {}}, chat("b")]}
    found = events((await call(path=PATH, body=asked)).body)
    (error,) = of("a", found)
    assert error["error"]["code"] == "missing_required_parameter"


async def test_authentication_comes_first(call: Call) -> None:
    """A caller without a valid key learns nothing about its body."""
    reply = await call(path=PATH, body=b"{", key=None)
    assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")


async def test_members_come_as_they_are_made(call: Call, sagemaker: StandIn) -> None:
    """A token of one member is sent while another one is in the middle of its answer."""
    goes_on = {name: asyncio.Event() for name in ("a", "b")}

    def script(body: dict[str, Any]) -> Iterator[bytes | asyncio.Event]:
        yield FIRST
        yield goes_on[body["messages"][-1]["content"]]
        yield REST

    sagemaker.script_of = script
    reply = Reply()
    asked = {"requests": [chat("a"), chat("b")]}
    running = asyncio.ensure_future(call(path=PATH, body=asked, reply=reply))
    await reply.until(lambda: reply.body.count(b'"Hello"') == 2)
    goes_on["b"].set()
    await reply.until(lambda: b'{"stream_id":"b","done":true}' in reply.body)
    assert b'{"stream_id":"a","done":true}' not in reply.body
    goes_on["a"].set()
    await running
    assert of("a", events(reply.body))


async def test_turns() -> None:
    """A member with much to send delays each event of another one by one event."""
    sent: list[str] = []

    async def send(message: Any) -> None:
        await asyncio.sleep(0)  # a client that is slower than both
        if message["type"] == "http.response.body":
            sent.append(json.loads(message["body"].partition(b"data: ")[2])["stream_id"])

    stream = _Stream(send)

    async def write(name: str, pieces: int, count: int) -> None:
        sink = _MemberSink(stream, name, CHAT)
        for _ in range(pieces):
            await sink.write(b'data: {"a":1}\n\n' * count)

    await asyncio.gather(write("fast", 1, 5_000), write("slow", 20, 1))
    places = [place for place, name in enumerate(sent) if name == "slow"]
    assert [after - before for before, after in pairwise([-1, *places])] == [2] * 20


async def test_a_client_that_leaves(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """When the client has left, every member is cancelled and settled."""
    sagemaker.script = [FIRST, *[part(lines(WORLD)) for _ in range(200)], asyncio.Event()]
    call = make_call()

    class Gone(Reply):
        """A client that leaves after some pieces."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "whole" and len(self.chunks) > 5:
                raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await call(path=PATH, body={"requests": [chat("a"), chat("b")]}, reply=Gone())
    assert len(set(sagemaker.cancelled)) == 2


async def test_a_retry_of_each_member(call: Call) -> None:
    """An Idempotency-Key counts for each member by itself: the same key, and another body."""
    more = {"idempotency-key": "k1"}
    found = events(
        (await call(path=PATH, body={"requests": [chat("a"), chat("b")]}, more=more)).body
    )
    assert len(of("a", found)) == len(of("b", found)) > 2


async def test_rejected_members_are_counted(
    make_call: Callable[..., Call], sagemaker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A member that is not admitted counts as a rejection, and one whose model fails does not."""
    call = make_call(deployment="d")
    sagemaker.script = [None]
    await call(path=PATH, body={"requests": [chat("a", model="?"), chat("b")]})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    counted = [line for line in lines if "Rejected4xx" in line or "Rejected5xx" in line]
    assert [line.get("Rejected.model_not_found") for line in counted] == [1]
