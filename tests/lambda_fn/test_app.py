"""The application over all its stages, called as its server calls it."""

import asyncio
import json
import re
import time
from typing import Any

import pytest

from lambda_fn import errors, ids, limits
from lambda_fn.answer import AnswerBroken
from lambda_fn.ids import ledger_partition
from lambda_fn.settings import Settings, SettingsError
from tests.lambda_fn.conftest import (
    END,
    FINISH,
    HELLO,
    START,
    USAGE,
    WHOLE,
    WORLD,
    Call,
    Reply,
    StandIn,
    exception_frame,
    lines,
    part,
)

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**CHAT, "stream": True}
pytestmark = pytest.mark.usefixtures("account")


def events(reply: Reply) -> list[Any]:
    """Split a stream into the data of its events."""
    data = [block.removeprefix("data: ") for block in reply.body.decode().split("\n\n") if block]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


def text(reply: Reply) -> str:
    """Put the content of a stream together."""
    chunks = [event for event in events(reply) if event != "[DONE]" and "choices" in event]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def ledger_item(items: Any, reply: Reply) -> dict[str, Any]:
    """Find the ledger item of a reply by its request id."""
    request_id = reply.headers["x-request-id"].removeprefix("req_")
    item: dict[str, Any] = items.get_item(Key={"pk": ledger_partition(request_id), "sk": request_id})["Item"]
    return item


async def test_whole_way(call: Call, sagemaker: StandIn, items: Any, account: dict[str, str]) -> None:
    """A stream comes whole, the container is told what it needs, and the books say what was used."""
    reply = await call(body=STREAM)
    assert (reply.status, text(reply), events(reply)[-1]) == (200, "Hello world", "[DONE]")
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-encoding" not in reply.headers
    assert reply.headers["openai-processing-ms"].isdigit()
    request_id = reply.headers["x-request-id"].removeprefix("req_")
    assert events(reply)[0]["id"] == f"chatcmpl-{request_id}"
    assert sagemaker.bodies[0]["sluice"]["request_id"] == request_id
    assert sagemaker.bodies[0]["sluice"]["deadline_ms"] == limits.STREAM_DEADLINE * 1000
    item = ledger_item(items, reply)
    found = {name: item[name] for name in ("state", "outcome", "finish_reason", "prompt_tokens", "completion_tokens")}
    assert found == {
        "state": "SETTLED",
        "outcome": "complete",
        "finish_reason": "stop",
        "prompt_tokens": 4,
        "completion_tokens": 2,
    }
    assert 0 <= item["ttft_ms"] <= item["duration_ms"]
    booked = items.get_item(Key=account)["Item"]
    assert (booked["in_flight"], booked["requests"], booked["completion_tokens"]) == ({}, 1, 2)


async def test_one_json_body(call: Call) -> None:
    """Without `stream` the answer is one object."""
    reply = await call(body=CHAT)
    body = json.loads(reply.body)
    assert reply.status == 200
    assert body["choices"][0]["message"]["content"] == "Hello world"
    assert body["usage"]["total_tokens"] == 6


async def test_other_shapes(call: Call) -> None:
    """A completion of the form before chat, and bare text, go the same way."""
    reply = await call(path="/v1/completions", body={"model": "m", "prompt": "Hi", "stream": True})
    assert "".join(event["choices"][0]["text"] for event in events(reply)[:-1]) == "Hello world"
    reply = await call(body=CHAT, more={"accept": "text/plain"})
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert reply.body == b"Hello world"


async def test_buffered_words(call: Call) -> None:
    """With buffering no chunk ends within a word."""
    reply = await call(body=STREAM, more={"x-sluice-buffer": "line"})
    said = [event["choices"][0]["delta"].get("content") for event in events(reply)[:-1]]
    assert said == ["", "Hello world", None]


async def test_first_token_is_not_held_back(call: Call, sagemaker: StandIn) -> None:
    """A token goes out when it came, while the container is silent after it."""
    go_on = asyncio.Event()
    sagemaker.script = [part(lines(START, HELLO)), go_on, part(lines(WORLD, FINISH, USAGE, END))]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    assert not running.done()
    go_on.set()
    await running
    assert text(reply) == "Hello world"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_parts_are_no_records(call: Call, sagemaker: StandIn, size: int) -> None:
    """However SageMaker cuts the container's bytes into parts, the answer is the same."""
    sagemaker.script = [part(WHOLE[start : start + size]) for start in range(0, len(WHOLE), size)]
    assert text(await call(body=STREAM)) == "Hello world"


async def test_cut_after_tokens_is_an_error(call: Call, sagemaker: StandIn, items: Any) -> None:
    """An answer cut after its first token ends in an error event and no `[DONE]`; what was generated is booked."""
    for script in (
        [part(lines(START, HELLO))],
        [part(lines(START, HELLO) + b'{"type":"del')],
        [part(lines(START, HELLO)), exception_frame("InternalStreamFailure")],
        [part(lines(START, HELLO)) + exception_frame("ModelStreamError")],
        [part(lines(START, HELLO)) + part(lines(WORLD))[:20]],
        [part(lines(START, HELLO)), None],
        [part(lines(START, HELLO) + b"garbage\n")],
        [part(lines(START, HELLO)) + b"garbage that is no frame"],
        [part(lines(START, HELLO, {"type": "error", "code": "engine_error", "message": "secret detail"}))],
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
async def test_failure_before_tokens_is_a_status(call: Call, sagemaker: StandIn, items: Any, body: Any) -> None:
    """An answer that breaks off before its first token is a 502, in either form."""
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
        assert (item["state"], item["outcome"], item["completion_tokens"]) == ("SETTLED", "failed", 0)


async def test_cut_whole_answer_is_a_502(call: Call, sagemaker: StandIn, items: Any) -> None:
    """An unfinished answer in the one-body form is a 502 that shows none of its text; its tokens are booked."""
    sagemaker.script = [part(lines(START, HELLO)), None]
    reply = await call(body=CHAT)
    assert (reply.status, reply.error["code"]) == (502, "upstream_cut")
    assert ledger_item(items, reply)["completion_tokens"] == 1


async def test_slow_whole_answer_is_kept_alive(call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A one-body answer that takes long is preceded by white space; when it then fails, the connection breaks."""
    monkeypatch.setattr(limits, "FIRST_EVENT_WAIT", 0.02)
    monkeypatch.setattr(limits, "HEARTBEAT", 0.02)
    for ending in ([part(lines(WORLD, FINISH, USAGE, END))], [None]):
        go_on = asyncio.Event()
        sagemaker.script = [part(lines(START, HELLO)), go_on, *ending]
        reply = Reply()
        running = asyncio.ensure_future(call(body=CHAT, reply=reply))
        await reply.until_chunks(3)
        go_on.set()
        if ending == [None]:
            with pytest.raises(AnswerBroken):
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
    """Whatever the endpoint refuses with has its public status and code."""
    sagemaker.status = status
    sagemaker.script = [body if isinstance(body, bytes) else json.dumps(body).encode()]
    reply = await call(body=STREAM)
    assert (reply.status, reply.error["code"]) == (expected, code)
    assert ("retry-after" in reply.headers) == (code == "rate_limit_exceeded" or (expected == 503 and status >= 500))


async def test_heartbeats_in_silence(call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that says nothing for long gets its 200, and the client a sign of life again and again."""
    monkeypatch.setattr(limits, "FIRST_EVENT_WAIT", 0.02)
    monkeypatch.setattr(limits, "HEARTBEAT", 0.02)
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


async def test_heartbeat_is_a_setting() -> None:
    """A deployment may have heartbeats sooner than the limits say, never later than after 15 s."""
    environment = {
        "AWS_REGION": "eu-west-1",
        "SLUICE_MODELS": '{"m":{"endpoint":"e","context_tokens":9}}',
        "SLUICE_USAGE_TABLE": "t",
        "SLUICE_ORIGIN_SECRET": "s",
    }
    assert Settings.from_environment(environment).heartbeat == limits.HEARTBEAT
    assert Settings.from_environment({**environment, "SLUICE_HEARTBEAT_SECONDS": "3"}).heartbeat == 3
    for wrong in ("0", "16", "soon"):
        with pytest.raises(SettingsError, match="SLUICE_HEARTBEAT_SECONDS"):
            Settings.from_environment({**environment, "SLUICE_HEARTBEAT_SECONDS": wrong})


async def test_deadline_ends_the_stream(
    call: Call, sagemaker: StandIn, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that takes longer than it may ends in an error, and its call is closed."""
    monkeypatch.setattr(limits, "STREAM_DEADLINE", 0.05)
    monkeypatch.setattr(limits, "STREAM_GRACE", 0.05)
    sagemaker.script = [part(lines(START, HELLO)), asyncio.Event()]
    reply = await call(body=STREAM)
    assert events(reply)[-1]["error"]["code"] == "upstream_timeout"
    assert ledger_item(items, reply)["outcome"] == "cut"
    async with asyncio.timeout(5):
        await sagemaker.closed.wait()


async def test_lambda_deadline_bounds_the_answer(call: Call, sagemaker: StandIn) -> None:
    """The container is given what Lambda leaves, less what settling may take."""

    class Context:
        def remaining(self) -> float:
            return 100.0

    await call(body=STREAM, context=Context())
    given = sagemaker.bodies[0]["sluice"]["deadline_ms"]
    assert given == pytest.approx((100 - limits.SETTLE_RESERVE - limits.STREAM_GRACE) * 1000)


async def test_client_that_does_not_read_is_given_up(
    call: Call, sagemaker: StandIn, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that takes nothing more is waited for until the deadline; then the request is ended and settled."""
    monkeypatch.setattr(limits, "STREAM_DEADLINE", 0.1)
    monkeypatch.setattr(limits, "STREAM_GRACE", 0.1)
    monkeypatch.setattr(limits, "LAST_WRITE", 0.05)
    sagemaker.script = [part(lines(START, HELLO)), part(lines(WORLD)), asyncio.Event()]
    reply = Reply()
    with pytest.raises(AnswerBroken):
        await call(body=STREAM, reply=reply, stuck=asyncio.Event())
    assert ledger_item(items, reply)["outcome"] == "cut"


async def test_silent_endpoint_is_dead(call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint that sends nothing for long, not even a heartbeat, is given up before the deadline."""
    monkeypatch.setattr(limits, "HEARTBEAT", 0.02)
    monkeypatch.setattr(limits, "UPSTREAM_SILENCE", 0.1)
    sagemaker.script = [part(lines(START, HELLO)), asyncio.Event()]
    reply = await call(body=STREAM)
    assert events(reply)[-1]["error"]["code"] == "upstream_cut"


async def test_damage_is_noticed_at_once(call: Call, sagemaker: StandIn) -> None:
    """Bytes that are no event stream end the answer while the endpoint keeps the connection open."""
    sagemaker.script = [part(lines(START, HELLO)) + b"garbage that is no frame", asyncio.Event()]
    reply = await call(body=STREAM)
    assert text(reply) == "Hello"
    assert events(reply)[-1]["error"]["code"] == "upstream_cut"


async def test_refusal_whose_body_comes_late(call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is read to its end, also past the moment at which a heartbeat would have been due."""
    monkeypatch.setattr(limits, "FIRST_EVENT_WAIT", 0.05)
    body = {"OriginalStatusCode": 400, "OriginalMessage": json.dumps({"error": {"code": "context_length_exceeded"}})}
    late = asyncio.Event()
    asyncio.get_running_loop().call_later(0.2, late.set)
    sagemaker.status = 424
    sagemaker.script = [b"{", late, json.dumps(body)[1:].encode()]
    reply = await call(body=CHAT)
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")


async def test_refusal_whose_body_stalls(call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal whose body does not come has the status that its own status says."""
    monkeypatch.setattr(limits, "META_TIMEOUT", 0.3)
    sagemaker.status, sagemaker.script = 424, [b"{", asyncio.Event()]
    assert (await call(body=STREAM)).status == 502


async def test_connection_to_the_endpoint_is_kept(call: Call, sagemaker: StandIn) -> None:
    """Answers that came whole leave their connection for the next, streamed or not."""
    for body in (STREAM, CHAT, STREAM):
        assert (await call(body=body)).status == 200
    assert len(sagemaker.connections) == 1


async def test_meter_down_at_settlement(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When DynamoDB is gone at the end, the client has its whole answer, and the log has every figure."""
    go_on = asyncio.Event()
    sagemaker.script = [part(lines(START, HELLO)), go_on, part(lines(WORLD, FINISH, USAGE, END))]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    monkeypatch.setattr(limits, "META_TIMEOUT", 0.0)
    monkeypatch.setattr(limits, "SETTLE_PATIENCE", 0.1)
    go_on.set()
    await running
    assert text(reply) == "Hello world"
    assert reply.whole
    entry = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (entry["event"], entry["completion_tokens"], entry["outcome"]) == ("settlement_unsaved", 2, "complete")


async def test_guesses_are_forgotten(call: Call, items: Any) -> None:
    """The ledger keeps a request with a key that nobody has for a day only."""
    item = ledger_item(items, await call(body=STREAM, key=ids.new_key()))
    assert item["outcome"] == "refused"
    assert 0 < int(item["ttl"]) - time.time() <= 86_400


async def test_caller_that_goes(call: Call, sagemaker: StandIn, items: Any) -> None:
    """A request whose task is cancelled closes its call and is settled with what was generated."""
    sagemaker.script = [part(lines(START, HELLO)), asyncio.Event()]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(5):
        await sagemaker.closed.wait()
    assert ledger_item(items, reply)["outcome"] == "cancelled"


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"key": None}, 401, "invalid_api_key"),
        ({"key": ids.new_key()}, 401, "invalid_api_key"),
        ({"key": "sk-" + "x" * 1000}, 401, "invalid_api_key"),
        ({"key": "é"}, 401, "invalid_api_key"),
        ({"origin": "wrong"}, 403, "origin_denied"),
        ({"origin": ""}, 403, "origin_denied"),
        ({"body": {**STREAM, "model": "other"}}, 404, "model_not_found"),
        ({"body": b"{"}, 400, "invalid_json"),
        ({"body": {**CHAT, "messages": []}}, 400, "empty_array"),
        ({"body": b" " * (limits.MAX_BODY + 1)}, 413, "request_too_large"),
        ({"body": b"{", "key": ids.new_key()}, 401, "invalid_api_key"),
        ({"body": {**STREAM, "model": "other"}, "key": ids.new_key()}, 401, "invalid_api_key"),
        ({"path": "/v1/nothing"}, 404, "not_found"),
        ({"path": "/v1/chat/completions/"}, 404, "not_found"),
        ({"method": "GET"}, 405, "method_not_allowed"),
        ({"method": "GET", "path": "/v1/models/other"}, 404, "model_not_found"),
        ({"method": "GET", "path": "/v1/models", "key": None}, 401, "invalid_api_key"),
    ],
    ids=range(17),
)
async def test_refusals(call: Call, sagemaker: StandIn, options: dict[str, Any], status: int, code: str | None) -> None:
    """What makes no sense or may not is refused in OpenAI's shape, and the model is not invoked."""
    reply = await call(**{"body": STREAM, **options})
    assert (reply.status, reply.error["code"]) == (status, code)
    assert sagemaker.bodies == []


async def test_previous_origin_secret_still_counts(call: Call) -> None:
    """While the secret is rotated, both are accepted."""
    assert (await call(body=CHAT, origin="previous")).status == 200


async def test_disabled_key(call: Call, items: Any, account: dict[str, str]) -> None:
    """A disabled key is 403, and the request is settled as refused."""
    items.update_item(Key=account, UpdateExpression="SET enabled = :no", ExpressionAttributeValues={":no": False})
    reply = await call(body=STREAM)
    assert (reply.status, reply.error["code"]) == (403, "key_disabled")
    assert ledger_item(items, reply)["outcome"] == "refused"
    assert (await call("GET", "/v1/models")).status == 403


async def test_models(call: Call) -> None:
    """The models are listed and found one by one."""
    listed = json.loads((await call("GET", "/v1/models")).body)
    assert [model["id"] for model in listed["data"]] == ["m"]
    assert json.loads((await call("GET", "/v1/models/m")).body) == listed["data"][0]


async def test_openapi_document(call: Call) -> None:
    """The document names the deployed models, and every reference in it leads somewhere; it needs no key."""
    reply = await call("GET", "/v1/openapi.json", key=None)
    document = json.loads(reply.body)
    schemas = document["components"]["schemas"]
    assert schemas["ChatRequest"]["properties"]["model"]["enum"] == ["m"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', reply.body.decode()))
    assert {"ChatRequest", "CompletionRequest", "Error", "FunctionTool"} <= named <= set(schemas)


async def test_meter_down_refuses(call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """When DynamoDB does not answer, nothing is generated: 503."""
    monkeypatch.setattr(limits, "META_TIMEOUT", 0.0)
    monkeypatch.setattr(limits, "META_TRIES", 1)
    reply = await call(body=STREAM)
    assert (reply.status, reply.error["code"]) == (503, "service_unavailable")
    assert sagemaker.bodies == []


async def test_nothing_secret_is_logged(call: Call, sagemaker: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    """The log has the figures of a request, and neither its prompt nor its completion nor the key."""
    await call(body={**CHAT, "messages": [{"role": "user", "content": "my prompt"}]})
    sagemaker.status, sagemaker.script = 424, [b'{"OriginalStatusCode":500,"OriginalMessage":"my prompt"}']
    await call(body=CHAT)
    logged = capsys.readouterr().out
    entries = [json.loads(line) for line in logged.splitlines()]
    assert [entry["event"] for entry in entries] == ["request", "upstream", "request"]
    assert entries[0]["completion_tokens"] == 2
    assert not any(secret in logged for secret in ("my prompt", "Hello", "sk-"))


def test_every_container_code_has_a_status() -> None:
    """The table maps every code to its status, and unknown ones to 502."""
    statuses = {code: errors.from_container(code, "m").status for code in (*errors.CONTAINER_CODES, "new")}
    assert statuses == {
        "invalid_request": 400,
        "context_length_exceeded": 400,
        "model_not_found": 404,
        "overloaded": 429,
        "not_ready": 503,
        "engine_error": 502,
        "deadline_exceeded": 504,
        "cancelled": 502,
        "cut": 502,
        "garbled": 502,
        "new": 502,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT", 31.0),
        ("FIRST_EVENT_WAIT", 31.0),
        ("STREAM_DEADLINE", 476.0),
        ("META_TRIES", 9),
        ("SETTLE_PATIENCE", 25.0),
        ("CHECKPOINT", 500.0),
        ("OVERDUE", 400.0),
        ("UPSTREAM_SILENCE", 60.0),
        ("CANCEL_PATIENCE", 18.0),
    ],
)
def test_limits_are_held_against_each_other(monkeypatch: pytest.MonkeyPatch, name: str, value: float) -> None:
    """A limit that contradicts another stops the start, and is named."""
    limits.check()
    monkeypatch.setattr(limits, name, value)
    with pytest.raises(ValueError, match=name):
        limits.check()


async def test_a_repeat_of_what_still_runs_is_refused(call: Call, sagemaker: StandIn, items: Any) -> None:
    """A request that is sent again while it runs is a 409 that names the running one, and that no SDK repeats."""
    go_on = asyncio.Event()
    sagemaker.script = [part(lines(START, HELLO)), go_on, part(lines(WORLD, FINISH, USAGE, END))]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    again = await call(body=STREAM, more={"x-stainless-retry-count": "1"})
    assert (again.status, again.error["code"]) == (409, "request_running")
    assert again.headers["x-should-retry"] == "false"
    assert reply.headers["x-request-id"] in again.error["message"]
    assert ledger_item(items, again)["outcome"] == "refused"
    go_on.set()
    await running
    assert text(reply) == "Hello world"
    assert len(sagemaker.bodies) == 1


@pytest.mark.parametrize(
    ("first", "second", "runs"),
    [
        ({}, {}, True),
        ({}, {"x-stainless-retry-count": "0"}, True),
        ({"idempotency-key": "a"}, {"idempotency-key": "b"}, True),
        ({"idempotency-key": "a"}, {"idempotency-key": "a"}, False),
    ],
    ids=range(4),
)
async def test_what_is_a_repeat(
    call: Call, sagemaker: StandIn, first: dict[str, str], second: dict[str, str], runs: bool
) -> None:
    """The same request twice is no repeat unless its sender says so, by a count or by the same Idempotency-Key."""
    go_on = asyncio.Event()
    sagemaker.script = [part(lines(START, HELLO)), go_on, part(lines(WORLD, FINISH, USAGE, END))]
    replies = [Reply(), Reply()]
    tasks = [asyncio.ensure_future(call(body=STREAM, reply=replies[0], more=first))]
    await replies[0].until(lambda: "Hello" in text(replies[0]))
    tasks.append(asyncio.ensure_future(call(body=STREAM, reply=replies[1], more=second)))
    await replies[1].until_chunks(1)
    assert (replies[1].status == 200) == runs
    go_on.set()
    await asyncio.gather(*tasks)


async def test_a_repeat_after_the_end_runs(call: Call, sagemaker: StandIn) -> None:
    """A repeat of a request that is over is a request like any other."""
    await call(body=STREAM)
    assert (await call(body=STREAM, more={"x-stainless-retry-count": "2"})).status == 200


async def test_what_was_generated_is_not_asked_for_again(call: Call, sagemaker: StandIn) -> None:
    """An answer that fails after tokens tells SDKs not to repeat it; one that never began does not."""
    for script, header in (([part(lines(START, HELLO)), None], "false"), ([None], None)):
        sagemaker.script = script
        reply = await call(body=CHAT)
        assert (reply.status, reply.headers.get("x-should-retry")) == (502, header)
