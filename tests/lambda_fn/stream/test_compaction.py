"""Compactions over all stages: what the model gets, what comes back, and who may use it."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from openai.types.conversations import Message
from openai.types.responses import ResponseCompactionItem, ResponseUsage

from lambda_fn.ids import new_key
from lambda_fn.metering import accounts
from lambda_fn.schema.responses.compact import INSTRUCTION
from lambda_fn.settings import Model
from tests.support import pictures
from tests.support.function import (
    END,
    FINISH,
    FIRST,
    HELLO,
    START,
    USAGE,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)
from tests.support.replies import ledger_item

pytestmark = pytest.mark.usefixtures("account")
PATH = "/v1/responses/compact"
RESPONSES = "/v1/responses"
CONVERSATION: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": "What is the weather?"},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c", "output": "sunny"},
    {"role": "assistant", "content": [{"type": "output_text", "text": "Sunny."}]},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And now?"}]},
]
ASKED: dict[str, Any] = {"model": "m", "input": CONVERSATION}
SUMMARY = "Summary of the conversation until here:\n\nHello world"


def compaction(reply: Reply) -> dict[str, Any]:
    """Return a compaction whose parts are of the types that OpenAI's client has for them.

    Its type of the whole has no user's messages, which OpenAI's document has.
    """
    assert reply.status == 200, reply.body
    found: dict[str, Any] = json.loads(reply.body)
    assert found["object"] == "response.compaction"
    ResponseUsage.model_validate(found["usage"], strict=True)
    *stay, last = found["output"]
    ResponseCompactionItem.model_validate(last, strict=True)
    for item in stay:
        Message.model_validate(item, strict=True)
    return found


@pytest.fixture
def keeping(make_call: Callable[..., Call], streams: Any) -> Call:
    """Return a function that calls an application that keeps responses."""
    return make_call(stream_table=streams.name)


async def test_a_conversation_is_compacted(call: Call, sagemaker: StandIn, items: Any) -> None:
    """The model summarises all of it; the user's messages stay, and the rest is one item."""
    reply = await call(path=PATH, body={**ASKED, "instructions": "You are Sol."})
    found = compaction(reply)
    name = reply.headers["x-request-id"].removeprefix("req_")
    assert found["id"] == f"resp_{name}"
    *stay, last = found["output"]
    assert [(it["role"], it["content"]) for it in stay] == [
        ("user", [{"type": "input_text", "text": text}])
        for text in ("What is the weather?", "And now?")
    ]
    assert (last["type"], last["id"]) == ("compaction", f"cmp_{name}")
    assert "Hello" not in last["encrypted_content"]
    assert len({it["id"] for it in found["output"]}) == 3
    (body,) = sagemaker.bodies
    assert [it["role"] for it in body["messages"]] == [
        *("system", "user", "assistant", "tool", "assistant", "user", "user"),
    ]
    assert body["messages"][0]["content"] == "You are Sol.\n\nBe brief."
    assert body["messages"][-1]["content"] == INSTRUCTION
    item = ledger_item(items, reply)
    assert (item["prompt_tokens"], item["completion_tokens"], item["outcome"]) == (4, 2, "complete")
    assert (found["usage"]["input_tokens"], found["usage"]["output_tokens"]) == (4, 2)


async def test_the_bounds_of_a_short_conversation(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """The bound of the prompt has room for the request for a summary, if each byte is a token."""
    call = make_call(models={"m": Model("e", context_tokens=9000)})
    compaction(await call(path=PATH, body={"model": "m", "input": "x"}))
    (body,) = sagemaker.bodies
    assert body["sluice"]["max_prompt_tokens"] > 512 + len(INSTRUCTION)


async def test_a_response_goes_on_from_it(call: Call, sagemaker: StandIn) -> None:
    """The output, as it came, is the input of what follows: a response, a count, a compaction."""
    output = compaction(await call(path=PATH, body=ASKED))["output"]
    asked = {"model": "m", "input": [*output, {"role": "user", "content": "Go on."}]}
    expected = [
        ("user", "What is the weather?"),
        ("user", "And now?"),
        ("assistant", SUMMARY),
        ("user", "Go on."),
    ]
    for path in (RESPONSES, f"{RESPONSES}/input_tokens", PATH):
        reply = await call(path=path, body=asked)
        assert reply.status == 200, reply.body
        said = [(it["role"], it["content"]) for it in sagemaker.bodies[-1]["messages"]]
        assert said[:4] == expected
    again = compaction(reply)["output"]
    assert [it["type"] for it in again] == ["message", "message", "message", "compaction"]


async def test_a_summary_opens_for_its_own_key_only(
    call: Call, items: Any, sagemaker: StandIn
) -> None:
    """Another key's compaction, a changed one and an invented one are the same 400."""
    other = new_key()
    items.put_item(Item=accounts.new_account(other, name="other", now=1))
    last = compaction(await call(path=PATH, body=ASKED))["output"][-1]
    sealed = last["encrypted_content"]
    changed = {
        **last,
        "encrypted_content": sealed[:30] + ("A" if sealed[30] == "B" else "B") + sealed[31:],
    }
    invented = {"type": "compaction", "encrypted_content": "gAAAAA"}
    asked = len(sagemaker.bodies)
    for path in (RESPONSES, f"{RESPONSES}/input_tokens", PATH):
        for item, key in ((last, other), (changed, None), (invented, None)):
            more = {} if key is None else {"authorization": f"Bearer {key}"}
            body = {"model": "m", "input": [{"role": "user", "content": "x"}, item]}
            reply = await call(path=path, body=body, more=more)
            assert (reply.status, reply.error["param"]) == (400, "input[1]"), path
            assert reply.error["code"] == "invalid_encrypted_content"
    assert len(sagemaker.bodies) == asked


async def test_a_kept_compaction_is_referred_to(
    keeping: Call, recall: Call, sagemaker: StandIn
) -> None:
    """A compaction in the input of a kept response is listed with an id, as other items are."""
    output = compaction(await keeping(path=PATH, body=ASKED))["output"]
    last = {"type": "compaction", "encrypted_content": output[-1]["encrypted_content"]}
    kept = await keeping(path=RESPONSES, body={"model": "m", "input": [last]})
    name = json.loads(kept.body)["id"]
    listed = json.loads((await recall("GET", f"{RESPONSES}/{name}/input_items")).body)["data"]
    assert listed[0]["id"].startswith("cmp_")
    reference = {"type": "item_reference", "id": listed[0]["id"]}
    reply = await keeping(path=RESPONSES, body={"model": "m", "input": [reference]})
    assert reply.status == 200
    assert sagemaker.bodies[-1]["messages"] == [{"role": "assistant", "content": SUMMARY}]


async def test_kept_responses_are_compacted(keeping: Call, sagemaker: StandIn) -> None:
    """A compaction may go on from a response, and a kept response from a compaction."""
    first = json.loads((await keeping(path=RESPONSES, body={"model": "m", "input": "Hi"})).body)
    found = compaction(
        await keeping(path=PATH, body={"model": "m", "previous_response_id": first["id"]})
    )
    said = [(it["role"], it["content"]) for it in sagemaker.bodies[-1]["messages"]]
    assert said == [("user", "Hi"), ("assistant", "Hello world"), ("user", INSTRUCTION)]
    assert [it["type"] for it in found["output"]] == ["message", "compaction"]
    second = await keeping(path=RESPONSES, body={"model": "m", "input": found["output"]})
    third = await keeping(
        path=RESPONSES,
        body={
            "model": "m",
            "input": "Go on.",
            "previous_response_id": json.loads(second.body)["id"],
        },
    )
    assert third.status == 200
    said = [(it["role"], it["content"]) for it in sagemaker.bodies[-1]["messages"]]
    assert said == [
        *(("user", "Hi"), ("assistant", SUMMARY)),
        *(("assistant", "Hello world"), ("user", "Go on.")),
    ]


async def test_a_compaction_is_no_response(keeping: Call, recall: Call) -> None:
    """It is not stored: nothing goes on from its id, and its items have no references.

    If it is logged, it can be read in its own form.
    """
    reply = await keeping(path=PATH, body=ASKED, more={"idempotency-key": "k"})
    found = compaction(reply)
    assert (await recall("GET", f"{RESPONSES}/{found['id']}")).status == 404
    logged = await recall("GET", f"/v1/sluice/streams/{reply.headers['x-sluice-stream']}")
    assert (logged.status, logged.body) == (200, reply.body)
    parent = {"model": "m", "input": "x", "previous_response_id": found["id"]}
    assert (await keeping(path=RESPONSES, body=parent)).error["code"] == (
        "previous_response_not_found"
    )
    for item in found["output"]:
        reference = {"type": "item_reference", "id": item["id"]}
        reply = await keeping(path=RESPONSES, body={"model": "m", "input": [reference]})
        assert (reply.status, reply.error["code"]) == (400, "item_not_found")


async def test_a_repeat_gets_the_same_compaction(keeping: Call, sagemaker: StandIn) -> None:
    """With an `Idempotency-Key`, it is generated and billed once."""
    key = {"idempotency-key": "k"}
    first = await keeping(path=PATH, body=ASKED, more=key)
    again = await keeping(path=PATH, body=ASKED, more=key)
    assert (again.status, again.body) == (200, first.body)
    assert again.headers["x-sluice-replayed"] == "true"
    assert len(sagemaker.bodies) == 1
    other = await keeping(path=PATH, body={**ASKED, "instructions": "x"}, more=key)
    assert (other.status, other.error["code"]) == (409, "idempotency_key_reused")


async def test_images_stay(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """The model sees the images of the conversation, and the user's messages keep them."""
    call = make_call(models={"m": Model("e", context_tokens=9000, max_images=1)})
    url = pictures.data_url(pictures.png(8, 8))
    image = {"type": "input_image", "image_url": url}
    asked = {"model": "m", "input": [{"role": "user", "content": [image]}]}
    found = compaction(await call(path=PATH, body=asked))
    assert found["output"][0]["content"] == [{**image, "detail": "auto"}]
    assert sagemaker.bodies[0]["messages"][0]["content"][0]["image_url"]["url"] == url


@pytest.mark.parametrize(
    ("records", "status", "code"),
    [
        ([HELLO, {**FINISH, "finish_reason": "length"}], 400, "context_length_exceeded"),
        ([FINISH], 502, "upstream_error"),
    ],
)
async def test_a_summary_that_is_not_whole(
    call: Call, sagemaker: StandIn, items: Any, records: list[Any], status: int, code: str
) -> None:
    """A summary that was cut, or is empty, is an error, and what was sampled is billed."""
    sagemaker.script = [part(lines(START, *records, {**USAGE, "completion_tokens": 1}, END))]
    reply = await call(path=PATH, body=ASKED)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert ledger_item(items, reply)["prompt_tokens"] == 4


async def test_a_model_that_fails(call: Call, sagemaker: StandIn) -> None:
    """A failure within the summary is an error with a status of its own."""
    sagemaker.script = [FIRST, None]
    assert (await call(path=PATH, body=ASKED)).status == 502


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [{"type": "smell"}]}, "input[0].type"),
        ({"input": [CONVERSATION[2]]}, "input[0]"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"stream": True}, "stream"),
        ({"background": True}, "background"),
        ({"store": True}, "store"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools"),
        ({"sluice": {"sources": [{"id": "1", "url": "https://a.b"}]}}, "sluice.sources"),
        ({"sluice": {"other": 1}}, "sluice.other"),
    ],
)
async def test_what_is_refused(call: Call, change: dict[str, Any], param: str) -> None:
    """A refusal names the member in the body as it was sent."""
    reply = await call(path=PATH, body={**ASKED, **change})
    assert (reply.status, reply.error["param"]) == (400, param)


async def test_what_has_no_effect(call: Call) -> None:
    """Members of OpenAI's API that change nothing are accepted, and what means their absence."""
    idle = {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "service_tier": "auto"}
    absent = {"stream": False, "background": False, "store": False, "tools": []}
    compaction(await call(path=PATH, body={**ASKED, **idle, **absent}))
    assert (await call("GET", PATH)).status == 405


async def test_the_summary_is_redacted(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """What the filters hide of an answer is in no summary."""
    said = {**HELLO, "delta": {"content": "Write to ann@example.com."}}
    sagemaker.script = [part(lines(START, said, FINISH, USAGE, END))]
    call = make_call()
    asked = {**ASKED, "sluice": {"redact": ["email"]}}
    output = compaction(await call(path=PATH, body=asked))["output"]
    await call(path=RESPONSES, body={"model": "m", "input": output})
    assert "Write to [EMAIL]." in sagemaker.bodies[-1]["messages"][-1]["content"]
