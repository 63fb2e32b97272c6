"""OpenAI's Responses API over all stages: money, errors, transforms and heartbeats."""

import ast
import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.settings import Model
from tests.support import pictures
from tests.support.function import (
    END,
    FINISH,
    FIRST,
    REST,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)
from tests.support.replies import ledger_item
from tests.support.response_events import check_response, events_of, response_of

pytestmark = pytest.mark.usefixtures("account")
PATH = "/v1/responses"
ASKED = {"model": "m", "input": "Hi", "max_output_tokens": 20}
STREAMED = {**ASKED, "stream": True}


async def test_a_response_is_metered_as_a_chat_is(call: Call, items: Any) -> None:
    """A response, streamed or whole, has the tokens that the ledger has, and tells its times."""
    before = int(time.time())
    whole = await call(path=PATH, body=ASKED)
    streamed = await call(path=PATH, body=STREAMED)
    assert streamed.headers["content-type"] == "text/event-stream; charset=utf-8"
    found = [json.loads(whole.body), response_of(streamed.body)]
    for response, reply in zip(found, (whole, streamed), strict=True):
        check_response(response)
        assert (reply.status, response["status"]) == (200, "completed")
        assert response["id"].removeprefix("resp_") == reply.headers["x-request-id"][4:]
        assert before <= response["created_at"] <= response["completed_at"] <= time.time()
        assert response["output"][0]["content"][0]["text"] == "Hello world"
        assert (response["store"], response["max_output_tokens"]) == (False, 20)
        item = ledger_item(items, reply)
        assert (item["prompt_tokens"], item["completion_tokens"]) == (4, 2)
        usage = response["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (4, 2)


async def test_what_the_model_gets(call: Call, sagemaker: StandIn) -> None:
    """The container gets a chat: messages, limit, tools and the form of the answer."""
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    await call(path=PATH, body={**ASKED, "instructions": "Be brief.", "text": {"format": form}})
    (body,) = sagemaker.bodies
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert (body["max_tokens"], body["response_format"]["type"]) == (20, "json_schema")


async def test_a_stream_is_buffered_like_any_other(call: Call) -> None:
    """Transforms apply: with buffering by line, the text comes in one delta."""
    reply = await call(path=PATH, body=STREAMED, more={"x-sluice-buffer": "line"})
    deltas = [it for it in events_of(reply.body) if it["type"] == "response.output_text.delta"]
    assert [it["delta"] for it in deltas] == ["Hello world"]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": [{"role": "user", "content": [{"type": "smell"}]}]}, "input[0].content[0].type"),
        ({"model": "other"}, None),
        ({"store": True}, "store"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"reasoning": {"effort": "high"}}, "reasoning.effort"),
        (
            {"input": [{"role": "user", "content": [
                {"type": "input_image", "image_url": "data:image/png;base64,eA=="}]}]},
            "input[0].content[0].type",
        ),
    ],
)  # fmt: skip
async def test_what_is_refused(
    make_call: Callable[..., Call], change: dict[str, Any], param: str | None
) -> None:
    """A refusal has OpenAI's form, and the path of the member in the body as it was sent."""
    call = make_call(models={"m": Model("endpoint-1", context_tokens=100, reasoning="none")})
    reply = await call(path=PATH, body={**ASKED, **change})
    assert reply.status == (404 if "model" in change else 400)
    assert reply.error["param"] in (param, "model")


async def test_the_containers_own_errors_name_the_members_of_a_response(
    call: Call, sagemaker: StandIn
) -> None:
    """An error of the model's server about a chat is told in the words of this API."""
    message = "'max_tokens' is more than the context has."
    record = {"type": "error", "code": "invalid_request", "message": message, "param": "max_tokens"}
    sagemaker.script = [part(lines(record))]
    error = (await call(path=PATH, body=STREAMED)).error
    assert (error["param"], "'max_output_tokens'" in error["message"]) == (
        "max_output_tokens",
        True,
    )


async def test_other_methods_and_paths(call: Call) -> None:
    """What this deployment does not keep is not found, in OpenAI's form, with the reason."""
    assert (await call("GET", PATH)).status == 405
    for method, path in (
        ("GET", f"{PATH}/resp_1"),
        ("DELETE", f"{PATH}/resp_1"),
        ("POST", f"{PATH}/resp_1/cancel"),
        ("GET", f"{PATH}/resp_1/input_items"),
    ):
        reply = await call(method, path, body=ASKED)
        assert (reply.status, "persistence" in reply.error["message"]) == (404, True)
    reply = await call(path="/v1/conversations", body=ASKED)
    assert (reply.status, "no conversations" in reply.error["message"]) == (404, True)
    wrong = await call(path=f"{PATH}/chat/completions", body=ASKED)
    assert "/v1/chat/completions" in wrong.error["message"]


async def test_a_response_that_reaches_its_limit(call: Call, sagemaker: StandIn) -> None:
    """A response that the model cut is incomplete, and tells its tokens."""
    sagemaker.script = [FIRST, part(lines({**FINISH, "finish_reason": "length"}, END))]
    response = json.loads((await call(path=PATH, body=ASKED)).body)
    check_response(response)
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["usage"]["output_tokens"] == 1


async def test_an_error_within_the_stream(call: Call, sagemaker: StandIn) -> None:
    """A failure after the first token is an event with the response, and nothing follows it."""
    sagemaker.script = [FIRST, None]
    reply = await call(path=PATH, body=STREAMED)
    response = response_of(reply.body)
    assert (reply.status, response["status"], response["error"]["code"]) == (
        200,
        "failed",
        "server_error",
    )
    assert response["output"][0]["content"][0]["text"] == "Hello"


async def test_heartbeats(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """A silence is broken by comments, behind the first events and after the first token."""
    waits = [asyncio.Event(), asyncio.Event()]
    sagemaker.script = [waits[0], FIRST, waits[1], REST]
    call, reply = make_call(heartbeat=0.02), Reply()
    running = asyncio.ensure_future(call(path=PATH, body=STREAMED, reply=reply))
    await reply.until(lambda: reply.body.count(b": keepalive\n\n") >= 2)
    assert [it["type"] for it in events_of(reply.body)] == [
        "response.created",
        "response.in_progress",
    ]
    waits[0].set()
    await reply.until(lambda: b"output_text.delta" in reply.body)
    seen = reply.body.count(b": keepalive")
    await reply.until(lambda: reply.body.count(b": keepalive") > seen)
    waits[1].set()
    await running
    assert response_of(reply.body)["status"] == "completed"


def test_a_chat_loads_nothing_of_it() -> None:
    """What only this API needs is not loaded at a cold start."""
    code = (
        "import sys, lambda_fn.stream.app; print([it for it in sys.modules if 'responses' in it or "
        "'seal' in it or 'compact' in it])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert set(ast.literal_eval(done.stdout)) == {"lambda_fn.http.responses", "starlette.responses"}


async def test_images(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """A model that reads images gets those of messages and of outputs, and a wrong one is named."""
    call = make_call(models={"m": Model("endpoint-1", context_tokens=9000, max_images=2)})
    url = pictures.data_url(pictures.png())
    image: Any = {"type": "input_image", "image_url": url}
    function = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    output: Any = {"type": "function_call_output", "call_id": "c", "output": [image]}
    items: list[Any] = [{"role": "user", "content": [image]}, function, output]
    reply = await call(path=PATH, body={**ASKED, "input": items})
    assert reply.status == 200
    messages = sagemaker.bodies[0]["messages"]
    assert [messages[place]["content"][0]["image_url"]["url"] for place in (0, 2)] == [url, url]
    output["output"] = [image, {"type": "input_text", "text": "x"}, {**image, "image_url": "x"}]
    wrong = await call(path=PATH, body={**ASKED, "input": items})
    assert (wrong.status, wrong.error["code"]) == (400, "too_many_images")
    items[0]["content"] = "Hi"
    wrong = await call(path=PATH, body={**ASKED, "input": items})
    assert wrong.error["param"] == "input[2].output[2].image_url"
