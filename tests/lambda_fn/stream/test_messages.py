"""Anthropic's Messages API over all stages: keys, headers, errors, money and heartbeats."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.settings import Model
from tests.support.function import (
    END,
    FINISH,
    FIRST,
    KEY,
    REST,
    START,
    USAGE,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)
from tests.support.model_answers import chunk, sse
from tests.support.replies import CHAT, ledger_item

pytestmark = pytest.mark.usefixtures("account")
PATH = "/v1/messages"
ASKED = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "Hi"}]}
STREAMED = {**ASKED, "stream": True}


def error_of(reply: Reply) -> tuple[int, str]:
    """Return the status and the type of an error, which must have Anthropic's form and the id that
    its headers name.
    """
    body = json.loads(reply.body)
    assert (body.keys(), body["type"]) == ({"type", "error", "request_id"}, "error")
    assert body["error"].keys() == {"type", "message"}
    assert body["request_id"] == reply.headers["request-id"] == reply.headers["x-request-id"]
    return reply.status, body["error"]["type"]


def names(reply: Reply) -> list[str]:
    """Return the names of the events of a stream."""
    return [line[7:] for line in reply.body.decode().split("\n") if line.startswith("event: ")]


async def test_a_message_is_metered_as_a_chat_is(call: Call, items: Any) -> None:
    """A message, streamed or whole, has the tokens that the ledger has."""
    whole = await call(path=PATH, body=ASKED)
    message = json.loads(whole.body)
    assert (whole.status, message["content"]) == (200, [{"type": "text", "text": "Hello world"}])
    streamed = await call(path=PATH, body=STREAMED, more={"anthropic-beta": "any-2026-01-01"})
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert names(streamed)[0] == "message_start"
    assert names(streamed)[-1] == "message_stop"
    assert b'"input_tokens":4' in streamed.body
    for reply in (whole, streamed):
        item = ledger_item(items, reply)
        assert (item["prompt_tokens"], item["completion_tokens"]) == (4, 2)
        assert reply.headers["request-id"] == reply.headers["x-request-id"]
    assert message["usage"]["input_tokens"] == 4


async def test_a_stream_is_buffered_like_any_other(call: Call) -> None:
    """Transforms apply: with buffering by line, the text comes in one delta."""
    reply = await call(path=PATH, body=STREAMED, more={"x-sluice-buffer": "line"})
    assert names(reply).count("content_block_delta") == 1
    assert b'"text":"Hello world"' in reply.body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"x-api-key": KEY}, 200),
        ({"api-key": KEY}, 200),
        ({"authorization": "Bearer sk-ant-other", "x-api-key": KEY}, 200),
        ({"authorization": f"Bearer {KEY}", "x-api-key": "sk-ant-other"}, 200),
        ({"authorization": "Basic eDp5", "x-api-key": KEY}, 200),
        ({"x-api-key": KEY[:-1] + "A"}, 401),
        ({"x-api-key": "sk-ant-other"}, 401),
        ({"x-api-key": "x" * 10_000}, 401),
        ({"x-api-key": ""}, 401),
        ({"authorization": KEY}, 401),
    ],
)
async def test_where_a_key_may_stand(call: Call, sent: dict[str, str], status: int) -> None:
    """A key is taken from each of the headers that clients use, on every path."""
    reply = await call(path=PATH, body=ASKED, key=None, more=sent)
    assert reply.status == status
    if status == 401:
        assert error_of(reply) == (401, "authentication_error")
    assert (await call(body=CHAT, key=None, more=sent)).status == status
    assert (await call("GET", "/v1/models", key=None, more=sent)).status == status


async def test_errors_before_the_stream(call: Call, sagemaker: StandIn) -> None:
    """Every rejection on these paths has Anthropic's form and the right type."""
    count = f"{PATH}/count_tokens"
    assert error_of(await call(path=PATH, body=b"{")) == (400, "invalid_request_error")
    assert error_of(await call(path=count, body=b"{")) == (400, "invalid_request_error")
    assert error_of(await call(path=PATH, body=ASKED, origin="x")) == (403, "permission_error")
    other = {**ASKED, "model": "other"}
    for path in (PATH, count):
        assert error_of(await call(path=path, body=other)) == (404, "not_found_error")
    large = b" " * (limits.MAX_BODY + 1)
    assert error_of(await call(path=PATH, body=large)) == (413, "request_too_large")
    assert error_of(await call("GET", PATH)) == (405, "invalid_request_error")
    assert error_of(await call(path=f"{PATH}/batches", body=ASKED)) == (404, "not_found_error")
    wrong = await call(path="/v1/v1/messages", body=ASKED, more={"anthropic-version": "2023-06-01"})
    assert error_of(wrong) == (404, "not_found_error")
    assert "without '/v1'" in json.loads(wrong.body)["error"]["message"]
    assert (await call(body=b"{")).error["code"] == "invalid_json"  # a chat's is OpenAI's
    sagemaker.script = [part(lines({"type": "error", "code": "overloaded", "message": "Full."}))]
    busy = await call(path=PATH, body=STREAMED)
    assert (error_of(busy), busy.headers["retry-after"]) == ((429, "rate_limit_error"), "1")
    sagemaker.script = [part(lines(START))]
    for path in (PATH, count):
        failed = await call(path=path, body={**ASKED, "model": "m"})
        if path == PATH:
            assert error_of(failed) == (502, "api_error")
        else:
            assert (failed.status, json.loads(failed.body)) == (200, {"input_tokens": 4})


async def test_a_key_without_room(call: Call, items: Any, account: dict[str, str]) -> None:
    """A limit of a key is a 429 with the time after which to come again."""
    items.update_item(
        Key=account,
        UpdateExpression="SET requests_minute = :one",
        ExpressionAttributeValues={":one": 1},
    )
    replies = [await call(path=f"{PATH}/count_tokens", body=ASKED) for _ in range(4)]
    refused = [reply for reply in replies if reply.status != 200]
    assert {error_of(reply) for reply in refused} == {(429, "rate_limit_error")}
    assert all(int(reply.headers["retry-after"]) > 0 for reply in refused)
    assert refused


async def test_an_error_within_the_stream(call: Call, sagemaker: StandIn) -> None:
    """A failure after the first token is an error event, and nothing follows it."""
    sagemaker.script = [FIRST, None]
    reply = await call(path=PATH, body=STREAMED)
    assert reply.status == 200
    assert (names(reply)[0], names(reply)[-1]) == ("message_start", "error")
    last = json.loads(reply.body.decode().split("data: ")[-1])
    assert last["error"]["type"] == "api_error"
    assert last["request_id"] == reply.headers["request-id"]


async def test_heartbeats(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """A silence is broken by pings, before the first event and after it."""
    waits = [asyncio.Event(), asyncio.Event()]
    sagemaker.script = [waits[0], FIRST, waits[1], REST]
    call, reply = make_call(heartbeat=0.02), Reply()
    running = asyncio.ensure_future(call(path=PATH, body=STREAMED, reply=reply))
    await reply.until(lambda: names(reply).count("ping") >= 1)
    waits[0].set()
    await reply.until(lambda: "content_block_delta" in names(reply))
    seen = names(reply).count("ping")
    await reply.until(lambda: names(reply).count("ping") > seen)
    waits[1].set()
    await running
    assert next(name for name in names(reply) if name != "ping") == "message_start"
    assert names(reply)[-1] == "message_stop"


@pytest.mark.parametrize(("member", "stop"), [("stop_reason", "END"), ("matched_stop", "END")])
async def test_a_stop_sequence_of_another_server(
    make_call: Callable[..., Call], sagemaker: StandIn, member: str, stop: str
) -> None:
    """The response has the stop sequence that vLLM or SGLang names, if the request has it too."""
    ending = chunk({}, "stop")
    ending["choices"][0][member] = stop
    sagemaker.script = [part(sse(chunk({"content": "Hi"}), ending) + b"data: [DONE]\n\n")]
    call = make_call(models={"m": Model("endpoint-1", context_tokens=1000, dialect="openai")})
    for stops, reason in ((["END"], "stop_sequence"), (["?"], "end_turn")):
        reply = await call(path=PATH, body={**ASKED, "stop_sequences": stops})
        assert json.loads(reply.body)["stop_reason"] == reason
    assert sagemaker.bodies[0]["stop"] == ["END"]


async def test_the_container_names_the_stop_sequence(call: Call, sagemaker: StandIn) -> None:
    """Our container's record has it."""
    ended = {**FINISH, "stop_sequence": "END"}
    sagemaker.script = [part(lines(START, ended, USAGE, END))]
    reply = await call(path=PATH, body={**ASKED, "stop_sequences": ["END"]})
    message = json.loads(reply.body)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize("path", [PATH, f"{PATH}/count_tokens"])
@pytest.mark.parametrize(
    ("source", "param"),
    [
        ({"type": "url", "url": "https://169.254.169.254/"}, "source"),
        ({"type": "url", "url": "file:///etc/passwd"}, "source"),
        ({"type": "base64", "media_type": "image/png", "data": "eA="}, "source"),
        ({"type": "base64", "media_type": "image/png", "data": "PHN2Zy8+"}, "source"),
        ({"type": "base64", "media_type": "text/html", "data": "eA=="}, "source.media_type"),
        ({"type": "url", "url": ""}, "source.url"),
    ],
    ids=lambda it: it if isinstance(it, str) else it.get("url", it.get("data")),
)  # fmt: skip
async def test_an_image_that_is_none(
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    path: str,
    source: dict[str, str],
    param: str,
) -> None:
    """It is named by its path in the caller's body, and no server gets it, not to be counted
    either.
    """
    ask = make_call(models={"m": Model("endpoint-1", 10_000, dialect="vllm", max_images=2)})
    result = {"type": "tool_result", "tool_use_id": "t"}
    content = [{"type": "image", "source": source}, result]
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f"}]},
        {"role": "user", "content": content},
    ]
    reply = await ask(path=path, body={**ASKED, "messages": messages})
    assert error_of(reply) == (400, "invalid_request_error")
    assert f"messages[3].content[0].{param}'" in json.loads(reply.body)["error"]["message"]
    assert sagemaker.bodies == []


async def test_a_text_model_reads_no_images(call: Call, sagemaker: StandIn) -> None:
    """Its error names the block, in the words of this API."""
    source = {"type": "url", "url": "https://example.com/a.png"}
    messages = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    for path in (PATH, f"{PATH}/count_tokens"):
        reply = await call(path=path, body={**ASKED, "messages": messages})
        message = json.loads(reply.body)["error"]["message"]
        assert (reply.status, "'messages[0].content[0].type'" in message) == (400, True)
        assert "content blocks of type 'image'" in message
    assert sagemaker.bodies == []


@pytest.mark.parametrize("path", [PATH, f"{PATH}/count_tokens"])
async def test_the_switch_of_thinking_is_soft(call: Call, sagemaker: StandIn, path: str) -> None:
    """The container is told that a model without the switch answers as it does."""
    await call(path=path, body={**ASKED, "thinking": {"type": "adaptive"}})
    (body,) = sagemaker.bodies
    assert body["chat_template_kwargs"] == {"enable_thinking": True, "thinking": True}
    assert body["sluice"]["soft_thinking"] is True
