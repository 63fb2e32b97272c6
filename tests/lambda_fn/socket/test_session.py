"""One socket over all stages: lanes, continuation, cancel, limits and money."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.seals import Seals
from tests.support.asgi_sockets import CREATE, Connect
from tests.support.function import FIRST, KEY_ID, ORIGIN, REST, WORLD, StandIn, lines, part
from tests.support.response_events import check_response

pytestmark = pytest.mark.usefixtures("account")


def ledger(items: Any) -> dict[str, dict[str, Any]]:
    """Return all ledger items of the key, by their request ids."""
    found = items.scan()["Items"]
    return {it["sk"]: it for it in found if it["pk"].startswith("LEDGER#") and it["key"] == KEY_ID}


def text(events: list[dict[str, Any]]) -> str:
    """Return the text of a response."""
    return "".join(it["delta"] for it in events if it["type"] == "response.output_text.delta")


async def test_a_response(connect: Connect, items: Any) -> None:
    """A create is answered with the events of SSE, one a message, and metered as over HTTP."""
    async with connect() as socket:
        socket.put(CREATE)
        events = await socket.events()
    assert [it["sequence_number"] for it in events] == list(range(len(events)))
    assert events[0]["type"] == "response.created"
    response = events[-1]["response"]
    check_response(response)
    assert (response["status"], text(events)) == ("completed", "Hello world")
    item = ledger(items)[response["id"].removeprefix("resp_")]
    assert (item["state"], item["outcome"]) == ("SETTLED", "complete")
    assert (item["prompt_tokens"], item["completion_tokens"]) == (4, 2)


async def test_lanes(connect: Connect, sagemaker: StandIn) -> None:
    """Lanes run at once, and the requests of a lane one after another."""
    goes_on = {name: asyncio.Event() for name in ("one", "two", "three")}

    def script(body: dict[str, Any]) -> Iterator[bytes | asyncio.Event]:
        yield FIRST
        yield goes_on[body["messages"][-1]["content"]]
        yield REST

    sagemaker.script_of = script
    async with connect() as socket:
        socket.put({**CREATE, "input": "one", "stream_id": "a"})
        socket.put({**CREATE, "input": "two", "stream_id": "a"})
        socket.put({**CREATE, "input": "three", "stream_id": "b"})
        goes_on["two"].set()
        begun: set[str] = set()
        while begun != {"a", "b"}:
            event = await socket.event()
            if event["type"] == "response.output_text.delta":
                begun.add(event["stream_id"])
        goes_on["three"].set()
        await socket.events("b")
        asked = [body["messages"][-1]["content"] for body in sagemaker.bodies]
        assert sorted(asked) == ["one", "three"]
        goes_on["one"].set()
        await socket.events("a")
        assert text(await socket.events("a")) == "Hello world"


async def test_errors_leave_the_socket_alone(connect: Connect) -> None:
    """A request that is refused gets an error with its lane, and the next one is answered."""
    async with connect() as socket:
        for change, status, code in (
            ({"model": "?"}, 404, "model_not_found"),
            ({"temperature": 9}, 400, "decimal_above_max_value"),
            ({"store": True}, 400, "unsupported_parameter"),
            ({"input": []}, 400, "empty_array"),
        ):
            socket.put({**CREATE, "stream_id": "a", **change})
            (error,) = await socket.events("a")
            assert (error["status"], error["error"]["code"]) == (status, code)
        socket.put("{")
        assert (await socket.event())["error"]["code"] == "invalid_json"
        socket.put(b"{}")
        assert (await socket.event())["error"]["code"] == "invalid_message"
        socket.put(CREATE)
        assert text(await socket.events()) == "Hello world"


async def test_a_failure_of_the_model(connect: Connect, sagemaker: StandIn) -> None:
    """A model that breaks off ends its response as failed, and the next one is answered."""
    sagemaker.script = [FIRST, None]
    async with connect() as socket:
        socket.put({**CREATE, "stream_id": "a"})
        failed = (await socket.events("a"))[-1]
        assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
        sagemaker.script = [None]
        socket.put(CREATE)
        assert (await socket.events())[-1]["status"] == 502
        sagemaker.script = [FIRST, REST]
        socket.put(CREATE)
        assert (await socket.events())[-1]["type"] == "response.completed"


async def test_continuation(connect: Connect, sagemaker: StandIn) -> None:
    """A request goes on from a response that nothing keeps, in its lane or in another one."""
    async with connect() as socket:
        socket.put({**CREATE, "input": "first"})
        first = (await socket.events())[-1]["response"]["id"]
        other = {**CREATE, "previous_response_id": first, "stream_id": "fork"}
        socket.put({**other, "input": [{"role": "user", "content": "again"}]})
        again = (await socket.events("fork"))[-1]["response"]
        assert again["previous_response_id"] == first
        socket.put({**CREATE, "input": "third", "previous_response_id": again["id"]})
        await socket.events()
        asked = [(it["role"], it["content"]) for it in sagemaker.bodies[-1]["messages"]]
        hello = ("assistant", "Hello world")
        assert asked == [
            ("user", "first"), hello, ("user", "again"), hello, ("user", "third"),
        ]  # fmt: skip
        socket.put({**CREATE, "previous_response_id": first})
        (gone,) = await socket.events()
        assert gone["error"]["code"] == "previous_response_not_found"


async def test_continuation_of_a_compaction(connect: Connect, sagemaker: StandIn) -> None:
    """The socket remembers the compactions of its input, also of a response without output."""
    sealed = Seals((ORIGIN,), KEY_ID).seal("It is sunny.")
    compaction = {"type": "compaction", "encrypted_content": sealed}
    said = [compaction, {"role": "user", "content": "first"}]
    async with connect() as socket:
        socket.put({**CREATE, "input": said, "generate": False})
        first = (await socket.events())[-1]["response"]["id"]
        socket.put({**CREATE, "input": said, "previous_response_id": first})
        second = (await socket.events())[-1]["response"]["id"]
        socket.put({**CREATE, "input": "third", "previous_response_id": second})
        await socket.events()
        asked = [(it["role"], it["content"]) for it in sagemaker.bodies[-1]["messages"]]
        summary = ("assistant", "Summary of the conversation until here:\n\nIt is sunny.")
        again = [summary, ("user", "first")]
        assert asked == [*again, *again, ("assistant", "Hello world"), ("user", "third")]
        socket.put({**CREATE, "input": [{**compaction, "encrypted_content": "x"}]})
        (error,) = await socket.events()
        assert error["error"]["code"] == "invalid_encrypted_content"


async def test_continuation_ends_with_the_socket(connect: Connect) -> None:
    """Another socket does not know the response."""
    async with connect() as socket:
        socket.put(CREATE)
        first = (await socket.events())[-1]["response"]["id"]
    async with connect() as socket:
        socket.put({**CREATE, "previous_response_id": first})
        (error,) = await socket.events()
    assert (error["status"], error["error"]["code"]) == (400, "previous_response_not_found")
    assert error["error"]["param"] == "previous_response_id"


async def test_a_failed_turn_forgets_its_parent(connect: Connect, sagemaker: StandIn) -> None:
    """After a request that failed, its parent has to be sent again, as with OpenAI."""
    async with connect() as socket:
        socket.put(CREATE)
        first = (await socket.events())[-1]["response"]["id"]
        unasked = {"type": "function_call_output", "call_id": "c", "output": "1"}
        socket.put({**CREATE, "previous_response_id": first, "input": [unasked]})
        assert (await socket.event())["error"]["param"] == "input[0].call_id"
        socket.put({**CREATE, "previous_response_id": first})
        assert (await socket.event())["error"]["code"] == "previous_response_not_found"


async def test_warm_up(connect: Connect, sagemaker: StandIn, items: Any) -> None:
    """Without `generate` a response has no output and no tokens, and others go on from it."""
    before = ledger(items).keys()
    async with connect() as socket:
        socket.put({**CREATE, "input": "context", "generate": False, "stream_id": "a"})
        events = await socket.events("a")
        assert [it["type"] for it in events] == [
            "response.created",
            "response.in_progress",
            "response.completed",
        ]
        response = events[-1]["response"]
        check_response(response)
        assert (response["output"], response["usage"]["total_tokens"]) == ([], 0)
        assert (sagemaker.bodies, ledger(items).keys()) == ([], before)
        socket.put({**CREATE, "input": "question", "previous_response_id": response["id"]})
        await socket.events()
        asked = [it["content"] for it in sagemaker.bodies[-1]["messages"]]
        assert asked == ["context", "question"]
        socket.put({**CREATE, "generate": False, "model": "?"})
        assert (await socket.event())["error"]["code"] == "model_not_found"


async def test_cancel(connect: Connect, sagemaker: StandIn, items: Any) -> None:
    """A cancel ends a response at once, frees the model, and settles what it made."""
    sagemaker.script = [FIRST, asyncio.Event()]
    async with connect() as socket:
        socket.put({**CREATE, "stream_id": "a"})
        while (event := await socket.event())["type"] != "response.output_text.delta":
            if event["type"] == "response.created":
                response_id = event["response"]["id"]
        socket.put({"type": "response.cancel", "response_id": response_id})
        (*_, end) = await socket.events("a")
        assert (end["type"], end["response"]["status"]) == ("response.failed", "cancelled")
        assert end["response"]["output"] == []
        sagemaker.script = [FIRST, REST]
        socket.put({**CREATE, "stream_id": "a"})
        assert (await socket.events("a"))[-1]["type"] == "response.completed"
    name = response_id.removeprefix("resp_")
    assert sagemaker.cancelled == [name]
    item = ledger(items)[name]
    assert (item["outcome"], item["completion_tokens"]) == ("cancelled", 1)


async def test_cancel_keeps_the_parent(connect: Connect, sagemaker: StandIn) -> None:
    """A user who stops a response may ask again from the one before it."""
    async with connect() as socket:
        socket.put(CREATE)
        first = (await socket.events())[-1]["response"]["id"]
        sagemaker.script = [FIRST, asyncio.Event()]
        socket.put({**CREATE, "previous_response_id": first})
        while (await socket.event())["type"] != "response.output_text.delta":
            pass
        socket.put({"type": "response.cancel"})
        await socket.events()
        sagemaker.script = [FIRST, REST]
        socket.put({**CREATE, "previous_response_id": first})
        assert (await socket.events())[-1]["type"] == "response.completed"


async def test_cancel_before_the_first_token(
    connect: Connect, sagemaker: StandIn, items: Any
) -> None:
    """A response that has not begun is cancelled with an error, and its hold is released."""
    asked = asyncio.Event()

    def script(_body: dict[str, Any]) -> Iterator[asyncio.Event]:
        asked.set()
        yield asyncio.Event()

    sagemaker.script_of = script
    async with connect() as socket:
        socket.put({**CREATE, "stream_id": "a"})
        await asyncio.wait_for(asked.wait(), 60)
        socket.put({"type": "response.cancel", "stream_id": "a"})
        (error,) = await socket.events("a")
        assert (error["status"], error["error"]["code"]) == (499, "cancelled")
    assert {it["state"] for it in ledger(items).values()} == {"SETTLED"}


async def test_a_client_that_leaves(connect: Connect, sagemaker: StandIn, items: Any) -> None:
    """When the socket breaks, what runs is cancelled in the container and settled."""
    sagemaker.script = [FIRST, asyncio.Event()]
    async with connect() as socket:
        for lane in ("a", "b"):
            socket.put({**CREATE, "stream_id": lane})
        begun: dict[str, str] = {}
        while len(begun) < 2:
            event = await socket.event()
            if event["type"] == "response.output_text.delta":
                begun[event["stream_id"]] = event["item_id"].split("_")[1]
        socket.leave(1001)
    assert set(sagemaker.cancelled) == set(begun.values())
    for name in begun.values():
        item = ledger(items)[name]
        assert (item["outcome"], item["completion_tokens"]) == ("cancelled", 1)


async def test_a_client_that_does_not_read(
    connect: Connect, sagemaker: StandIn, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that stops reading stops its own lanes, and no more than one event waits for it.
    Another socket is served meanwhile. In the end it counts as gone.
    """
    monkeypatch.setattr(limits, "SOCKET_PATIENCE", 3600.0)
    many = part(lines(*[WORLD] * 5_000))
    sagemaker.script = [FIRST, many]
    async with connect() as socket, connect() as other:
        socket.put({**CREATE, "max_output_tokens": 900})
        while (await socket.event())["type"] != "response.output_text.delta":
            pass
        socket.reads.clear()
        sagemaker.script = [FIRST, REST]
        other.put(CREATE)
        assert (await other.events())[-1]["type"] == "response.completed"
        sent = socket.sent
        other.put(CREATE)
        await other.events()
        assert socket.sent - sent <= 1


async def test_patience(
    connect: Connect, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that takes nothing for too long is let go, and its response is cancelled."""
    sagemaker.script = [FIRST, asyncio.Event()]
    async with connect() as socket:
        monkeypatch.setattr(limits, "SOCKET_PATIENCE", 0.0)
        socket.reads.clear()
        socket.put(CREATE)
        await asyncio.wait_for(sagemaker.closed.wait(), 60)
    assert len(sagemaker.cancelled) == 1


async def test_limits_count(
    connect: Connect, items: Any, account: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key's limits hold for each request of a socket, as for HTTP, with the time to wait."""
    now = float(int(time.time()) // 60 * 60 + 1)
    monkeypatch.setattr(time, "time", lambda: now)  # no minute ends during the test
    items.put_item(Item={**items.get_item(Key=account)["Item"], "requests_minute": 2})
    async with connect() as socket:
        socket.put(CREATE)
        await socket.events()
        socket.put({**CREATE, "generate": False})
        await socket.events()
        for request in (CREATE, {**CREATE, "generate": False}):
            socket.put(request)
            (error,) = await socket.events()
            assert (error["status"], error["error"]["code"]) == (429, "rate_limit_exceeded")
            assert int(error["error"]["headers"]["retry-after"]) > 0


async def test_the_time_to_wait(connect: Connect, sagemaker: StandIn) -> None:
    """The error of a request that may be sent again says when."""
    sagemaker.busy = {"endpoint-1"}
    async with connect() as socket:
        socket.put(CREATE)
        (error,) = await socket.events()
    assert error["status"] == 429
    assert int(error["error"]["headers"]["retry-after"]) > 0


async def test_a_revoked_key(connect: Connect, items: Any, account: dict[str, str]) -> None:
    """A key that was disabled is refused at its next request."""
    async with connect() as socket:
        socket.put(CREATE)
        await socket.events()
        items.put_item(Item={**items.get_item(Key=account)["Item"], "enabled": False})
        for request in (CREATE, {**CREATE, "generate": False}):
            socket.put(request)
            (error,) = await socket.events()
            assert (error["status"], error["error"]["code"]) == (403, "key_disabled")


async def test_too_large(connect: Connect) -> None:
    """A message over the size of a body closes the socket with 1009."""
    async with connect() as socket:
        socket.put({**CREATE, "input": "x" * limits.MAX_BODY})
        assert await socket.closed() == 1009


async def test_nothing_secret_is_logged(
    connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has the socket's key and figures, and no text."""
    async with connect() as socket:
        socket.put({**CREATE, "input": "sesame"})
        await socket.events()
    out = capsys.readouterr().out
    assert "sesame" not in out
    assert "Hello" not in out
    (line,) = [it for it in map(json.loads, out.splitlines()) if it["event"] == "socket"]
    assert (line["key"], line["responses"], line["code"]) == (KEY_ID, 1, 1006)


async def test_many_sockets(connect: Connect) -> None:
    """Forty responses on twenty sockets are whole, in order and each on its own lane."""

    async def use(number: int) -> None:
        async with connect() as socket:
            for lane in ("a", "b"):
                socket.put({**CREATE, "input": f"{number}", "stream_id": lane})
            for events in (await socket.lanes("a", "b")).values():
                assert [it["sequence_number"] for it in events] == list(range(len(events)))
                assert (events[-1]["type"], text(events)) == ("response.completed", "Hello world")

    await asyncio.gather(*map(use, range(20)))


async def test_rejected_requests_are_counted(
    make_connect: Callable[..., Connect], sagemaker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that is not admitted counts as a rejection, and one whose model fails does not."""
    sagemaker.script = [None]
    async with make_connect(deployment="d")() as socket:
        socket.put({**CREATE, "model": "?"})
        await socket.events()
        socket.put(CREATE)
        await socket.events()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    counted = [line for line in lines if "Rejected4xx" in line or "Rejected5xx" in line]
    assert [line.get("Rejected.model_not_found") for line in counted] == [1]
