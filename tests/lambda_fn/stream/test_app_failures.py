"""The application when one of its stages fails, is late or stays silent."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambda_fn import errors, limits
from lambda_fn.stream.producer import Producer
from lambda_fn.stream.sinks import ResponseBroken
from tests.support.function import (
    END,
    FINISH,
    FIRST,
    HELLO,
    REST,
    START,
    USAGE,
    WORLD,
    Call,
    Got,
    Reply,
    StandIn,
    Stuck,
    exception_frame,
    lines,
    part,
)
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")


async def test_cut_after_tokens_is_an_error(call: Call, sagemaker: StandIn, items: Any) -> None:
    """An answer that is truncated after its first token ends in an error event without `[DONE]`.

    The generated tokens are booked.
    """
    for script in (
        [FIRST],
        [part(lines(START, HELLO) + b'{"type":"del')],
        [FIRST, exception_frame("InternalStreamFailure")],
        [FIRST + exception_frame("ModelStreamError")],
        [FIRST + part(lines(WORLD))[:20]],
        [FIRST, None],
        [part(lines(START, HELLO) + b"garbage\n")],
        [FIRST + b"garbage that is no frame"],
        [
            part(
                lines(
                    START,
                    HELLO,
                    {"type": "error", "code": "engine_error", "message": "secret detail"},
                )
            )
        ],
    ):
        sagemaker.script = script
        reply = await call(body=STREAM)
        last = events(reply)[-1]
        assert reply.status == 200
        assert text(reply) == "Hello"
        assert last["error"].keys() == {"message", "type", "param", "code"}
        assert b"secret detail" not in reply.body
        item = ledger_item(items, reply)
        assert (item["state"], item["outcome"], item["completion_tokens"]) == ("SETTLED", "cut", 1)
        assert item["finish_reason"] is None


@pytest.mark.parametrize("body", [STREAM, CHAT], ids=["stream", "whole"])
async def test_failure_before_tokens_is_a_status(
    call: Call, sagemaker: StandIn, items: Any, body: Any
) -> None:
    """An answer that breaks off before its first token is a 502, streamed or not."""
    for script in (
        [part(lines(START)), None],
        [None],
        [],
        [exception_frame("ModelStreamError")],
        [part(lines(START, {"type": "error", "code": "engine_error", "message": "x"}))],
    ):
        sagemaker.script = script
        reply = await call(body=body)
        assert (reply.status, reply.error["type"], reply.whole) == (502, "server_error", True)
        item = ledger_item(items, reply)
        assert (item["state"], item["outcome"], item["completion_tokens"]) == (
            "SETTLED",
            "failed",
            0,
        )


async def test_cut_whole_answer_is_a_502(call: Call, sagemaker: StandIn, items: Any) -> None:
    """A truncated answer in one body is a 502 without its text. Its tokens are booked."""
    sagemaker.script = [part(lines(START, HELLO)), None]
    reply = await call(body=CHAT)
    assert (reply.status, reply.error["code"]) == (502, "upstream_cut")
    assert ledger_item(items, reply)["completion_tokens"] == 1


async def test_slow_whole_answer_is_kept_alive(
    make_call: Callable[..., Call], sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """White space precedes a slow answer in one body.

    If the answer then fails, the connection breaks.
    """
    monkeypatch.setattr(limits, "FIRST_EVENT_WAIT", 0.02)
    call = make_call(heartbeat=0.02)
    for ending in ([REST], [None]):
        go_on = asyncio.Event()
        sagemaker.script = [FIRST, go_on, *ending]
        reply = Reply()
        running = asyncio.ensure_future(call(body=CHAT, reply=reply))
        await reply.until_chunks(3)
        go_on.set()
        if ending == [None]:
            with pytest.raises(ResponseBroken):
                await running
        else:
            await running
            assert json.loads(reply.body)["choices"][0]["message"]["content"] == "Hello world"


@pytest.mark.parametrize(
    ("status", "body", "expected", "code"),
    [
        (424, {"OriginalStatusCode": 400, "OriginalMessage": '{"error":{"code":"context_length_exceeded","message":"m"}}'}, 400, "context_length_exceeded"),  # noqa: E501
        (424, {"OriginalStatusCode": 400, "OriginalMessage": '{"error":{"code":"invalid_request","message":"m","param":"stop"}}'}, 400, None),  # noqa: E501
        (424, {"OriginalStatusCode": 429, "OriginalMessage": '{"error":{"code":"overloaded","message":"m"}}'}, 429, "rate_limit_exceeded"),  # noqa: E501
        (424, {"OriginalStatusCode": 503, "OriginalMessage": '{"error":{"code":"not_ready","message":"m"}}'}, 503, "service_unavailable"),  # noqa: E501
        (424, {"OriginalStatusCode": 500, "OriginalMessage": "Traceback"}, 502, "upstream_error"),
        (424, {}, 502, "upstream_error"),
        (400, {"__type": "com.amazonaws.sagemaker#ValidationError"}, 503, "service_unavailable"),
        (403, {"__type": "AccessDeniedException"}, 503, "service_unavailable"),
        (429, {"__type": "ThrottlingException"}, 429, "rate_limit_exceeded"),
        (503, {"__type": "ServiceUnavailable"}, 503, "service_unavailable"),
        (500, b"<html>", 503, "service_unavailable"),
    ],
    ids=range(11),
)  # fmt: skip
async def test_refusals_of_the_endpoint(
    call: Call, sagemaker: StandIn, status: int, body: Any, expected: int, code: str | None
) -> None:
    """Each rejection of the endpoint has a public status and code."""
    sagemaker.status = status
    sagemaker.script = [body if isinstance(body, bytes) else json.dumps(body).encode()]
    reply = await call(body=STREAM)
    assert (reply.status, reply.error["code"]) == (expected, code)
    assert ("retry-after" in reply.headers) == (
        code == "rate_limit_exceeded" or (expected == 503 and status >= 500)
    )


@pytest.mark.parametrize(
    ("asked", "sent", "param"),
    [
        ({"think": True}, "chat_template_kwargs.enable_thinking", "think"),
        ({"reasoning": {"effort": "low"}}, "reasoning_effort", "reasoning.effort"),
        ({"thinking_budget": 5}, "thinking_token_budget", "thinking_budget"),
        ({"reasoning_effort": "low"}, "reasoning_effort", "reasoning_effort"),
        ({"stop": "x"}, "stop", "stop"),
    ],
    ids=str,
)
async def test_the_container_names_what_the_caller_sent(
    call: Call, sagemaker: StandIn, asked: dict[str, Any], sent: str, param: str
) -> None:
    """The container knows one name of each field about reasoning; the caller may have another."""
    error = {"error": {"code": "invalid_request", "message": f"{sent}: no", "param": sent}}
    sagemaker.status = 424
    refusal = {"OriginalStatusCode": 400, "OriginalMessage": json.dumps(error)}
    sagemaker.script = [json.dumps(refusal).encode()]
    reply = await call(body={**STREAM, **asked})
    assert (reply.status, reply.error["param"]) == (400, param)
    assert reply.error["message"] == f"{param}: no"


async def test_heartbeats_in_silence(
    make_call: Callable[..., Call], sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a model is silent, the client gets 200 and then heartbeats."""
    monkeypatch.setattr(limits, "FIRST_EVENT_WAIT", 0.02)
    call = make_call(heartbeat=0.02)
    go_on = asyncio.Event()
    sagemaker.script = [part(lines(START)), go_on, part(lines(HELLO, WORLD, FINISH, USAGE, END))]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until_chunks(4)
    go_on.set()
    await running
    assert text(reply) == "Hello world"
    assert events(reply)[0]["choices"][0]["delta"]["role"] == "assistant"
    assert events(reply)[1]["choices"][0]["delta"] == {}


@pytest.fixture
def come(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that makes the deadline of the one response pass at once."""
    producers: list[Producer] = []
    enter = Producer.__aenter__

    async def noted(producer: Producer) -> Producer:
        producers.append(producer)
        return await enter(producer)

    def now() -> None:
        [producer] = producers
        assert producer._timer.when() == pytest.approx(
            asyncio.get_running_loop().time() + limits.STREAM_DEADLINE + limits.STREAM_GRACE, abs=60
        )
        producer._timer._run()

    monkeypatch.setattr(Producer, "__aenter__", noted)
    return now


async def test_deadline_ends_the_stream(
    call: Call, sagemaker: StandIn, items: Any, come: Callable[[], None]
) -> None:
    """An answer that exceeds its deadline ends with `length` and its text, and its call is closed.

    The container is told to stop.
    """
    sagemaker.script = [part(lines(START, HELLO)), asyncio.Event()]
    reply = Reply()
    body = {**STREAM, "stream_options": {"include_usage": True}}
    running = asyncio.ensure_future(call(body=body, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    come()
    await running
    *_, finish, usage, done = events(reply)
    assert (finish["choices"][0]["finish_reason"], done) == ("length", "[DONE]")
    assert finish["sluice"] == {"ended": "deadline"}
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (4, 1)
    item = ledger_item(items, reply)
    assert (item["outcome"], item["finish_reason"], item["completion_tokens"]) == (
        "complete",
        "length",
        1,
    )
    assert len(sagemaker.cancelled) == 1
    async with asyncio.timeout(60):
        await sagemaker.closed.wait()


DEADLINE = {"type": "error", "code": "deadline_exceeded", "message": "over"}


@pytest.mark.parametrize("form", ["chat", "text", "completion", "completion stream"])
async def test_an_answer_at_the_container_s_deadline_has_all_its_text(
    call: Call, sagemaker: StandIn, items: Any, form: str
) -> None:
    """In every form the text is whole, and `length` and `deadline` say why it ends."""
    sagemaker.script = [part(lines(START, HELLO, WORLD, DEADLINE))]
    chat = form in ("chat", "text")
    body = CHAT if chat else {"model": "m", "prompt": "Hi", "stream": form.endswith("stream")}
    reply = await call(
        path="/v1/chat/completions" if chat else "/v1/completions",
        body=body,
        more={"accept": "text/plain"} if form == "text" else {},
    )
    assert (reply.status, reply.whole) == (200, True)
    if form == "text":
        said, _, trailer = reply.body.decode().partition("\n\x1e")
        value = json.loads(trailer)
        assert value.pop("finish_reason") == "length"
    elif form == "completion stream":
        *chunks, value, _ = events(reply)
        said = "".join(chunk["choices"][0]["text"] for chunk in chunks)
        assert value["choices"][0]["finish_reason"] == "length"
    else:
        value = json.loads(reply.body)
        [choice] = value["choices"]
        said = choice["message"]["content"] if chat else choice["text"]
        assert (choice["finish_reason"], value["usage"]["completion_tokens"]) == ("length", 2)
    assert (said, value["sluice"]) == ("Hello world", {"ended": "deadline"})
    assert ledger_item(items, reply)["outcome"] == "complete"
    assert sagemaker.cancelled == []


async def test_an_answer_without_text_at_its_deadline_has_failed(
    call: Call, sagemaker: StandIn
) -> None:
    """Nothing was said, so there is nothing to end with `length`."""
    sagemaker.script = [part(lines(START, DEADLINE))]
    reply = await call(body=STREAM)
    assert (reply.status, reply.error["code"]) == (504, "upstream_timeout")


async def test_lambda_deadline_bounds_the_answer(call: Call, sagemaker: StandIn) -> None:
    """The container's deadline is Lambda's remaining time, less the time for settlement."""

    class Context:
        def remaining(self) -> float:
            return 100.0

    await call(body=STREAM, context=Context())
    given = sagemaker.bodies[0]["sluice"]["deadline_ms"]
    assert given == pytest.approx((100 - limits.SETTLE_RESERVE - limits.STREAM_GRACE) * 1000)


async def test_client_that_does_not_read_is_given_up(
    call: Call,
    sagemaker: StandIn,
    items: Any,
    come: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that stops reading is waited for until the deadline.

    Then the request is ended and settled.
    """
    monkeypatch.setattr(limits, "LAST_WRITE_TIMEOUT", 0.05)
    reply, stuck = Reply(), Stuck()
    sagemaker.script = [FIRST, Got(reply), part(lines(WORLD)), asyncio.Event()]
    running = asyncio.ensure_future(call(body=STREAM, reply=reply, stuck=stuck))
    await stuck.reached.wait()
    come()
    with pytest.raises(ResponseBroken):
        await running
    assert ledger_item(items, reply)["outcome"] == "cut"


async def test_silent_endpoint_is_dead(
    make_call: Callable[..., Call], sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint without even a heartbeat for long is given up before the deadline."""
    call = make_call(heartbeat=0.02)
    sagemaker.script = [FIRST, asyncio.Event()]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    monkeypatch.setattr(limits, "UPSTREAM_SILENCE", 0.1)
    await running
    assert events(reply)[-1]["error"]["code"] == "upstream_cut"


async def test_damage_is_noticed_at_once(call: Call, sagemaker: StandIn) -> None:
    """Bytes that are no event stream end the answer, even if the connection stays open."""
    sagemaker.script = [part(lines(START, HELLO)) + b"garbage that is no frame", asyncio.Event()]
    reply = await call(body=STREAM)
    assert text(reply) == "Hello"
    assert events(reply)[-1]["error"]["code"] == "upstream_cut"


async def test_refusal_whose_body_comes_late(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rejection is read to its end, also when a heartbeat would have been due."""
    body = {
        "OriginalStatusCode": 400,
        "OriginalMessage": json.dumps({"error": {"code": "context_length_exceeded"}}),
    }
    sagemaker.status = 424
    for seconds in (0.05, 0.5, 5):
        monkeypatch.setattr(limits, "FIRST_EVENT_WAIT", seconds)
        late, reply = asyncio.Event(), Reply()
        asyncio.get_running_loop().call_later(2 * seconds, late.set)
        sagemaker.script = [b"{", late, json.dumps(body)[1:].encode()]
        with contextlib.suppress(ResponseBroken):  # on a busy machine, the head was late, too
            await call(body=CHAT, reply=reply)
            break
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")


async def test_refusal_whose_body_stalls(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the body of a rejection does not arrive, its HTTP status decides the public one."""

    def script() -> Iterator[bytes | asyncio.Event]:
        monkeypatch.setattr(limits, "META_TIMEOUT", 0.3)  # the table has been called by now
        yield b"{"
        yield asyncio.Event()

    sagemaker.status, sagemaker.script = 424, script()
    assert (await call(body=STREAM)).status == 502


async def test_meter_down_at_settlement(
    call: Call,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If DynamoDB is down at the end, the client has its whole answer.

    The log has every figure.
    """
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    monkeypatch.setattr(limits, "META_TIMEOUT", 0.0)
    monkeypatch.setattr(limits, "SETTLE_TIMEOUT", 0.1)
    go_on.set()
    await running
    assert text(reply) == "Hello world"
    assert reply.whole
    entry = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (entry["event"], entry["completion_tokens"], entry["outcome"]) == (
        "settlement_unsaved",
        2,
        "complete",
    )


async def test_caller_that_goes(call: Call, sagemaker: StandIn, items: Any) -> None:
    """If a request's task is cancelled, its call is closed and its tokens are settled."""
    sagemaker.script = [part(lines(START, HELLO)), asyncio.Event()]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(60):
        await sagemaker.closed.wait()
    assert ledger_item(items, reply)["outcome"] == "cancelled"


async def test_meter_down_refuses(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If DynamoDB does not answer, the response is a 503, and the model generates nothing."""
    monkeypatch.setattr(limits, "META_TIMEOUT", 0.0)
    monkeypatch.setattr(limits, "META_MAX_ATTEMPTS", 1)
    reply = await call(body=STREAM)
    assert (reply.status, reply.error["code"]) == (503, "service_unavailable")
    assert sagemaker.bodies == []


def test_every_container_code_has_a_status() -> None:
    """The table has a status for every code. Unknown codes are a 502."""
    statuses = {
        code: errors.from_container(code, "m").status for code in (*errors.CONTAINER_CODES, "new")
    }
    assert statuses == {
        "invalid_request": 400,
        "context_length_exceeded": 400,
        "model_not_found": 404,
        "overloaded": 429,
        "not_ready": 503,
        "engine_error": 502,
        "caller_denied": 502,
        "request_timeout": 504,
        "deadline_exceeded": 504,
        "cancelled": 499,
        "aborted": 502,
        "cut": 502,
        "malformed": 502,
        "new": 502,
    }
