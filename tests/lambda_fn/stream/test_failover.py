"""Requests with `on_cut` over the application: what is continued, refused and billed."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from lambda_fn.limits import FIRST_STEP
from lambda_fn.metering.keys import account_key
from lambda_fn.settings import Model
from tests.support.function import (
    END,
    FINISH,
    FIRST,
    KEY_ID,
    REST,
    START,
    USAGE,
    WORLD,
    Call,
    StandIn,
    lines,
    part,
)
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")
ON: dict[str, Any] = {"sluice": {"on_cut": "continue"}}
FUNCTION = {"type": "function", "function": {"name": "f"}}
PRICED = Model(endpoint="endpoint-1", context_tokens=1000, prompt_price=1, completion_price=10)
REST_OF_TWO = part(
    lines(
        {**START, "prompt_tokens": 5},
        WORLD,
        FINISH,
        {**USAGE, "prompt_tokens": 5, "completion_tokens": 1},
        END,
    )
)


class Runs:
    """The scripts of several runs: each request takes the next one."""

    def __init__(self, *scripts: list[Any]) -> None:
        """Take the scripts."""
        self._scripts = list(scripts)

    def __iter__(self) -> Iterator[Any]:
        """Return the steps of the next run."""
        return iter(self._scripts.pop(0))


@pytest.mark.parametrize("persistence", ["asked", "off"])
async def test_a_response_whose_container_ends_is_continued(
    make_call: Callable[..., Call], streams: Any, sagemaker: StandIn, items: Any, persistence: str
) -> None:
    """The client sees one stream, and the first prompt. The second prompt is billed, and apart."""
    call = make_call(stream_table=streams.name, persistence=persistence, models={"m": PRICED})
    sagemaker.script = Runs([FIRST, None], [REST_OF_TWO])
    options = {"stream_options": {"include_usage": True}}
    reply = await call(body={**STREAM, **ON, **options})
    assert (reply.status, text(reply)) == (200, "Hello world")
    usage = next(it["usage"] for it in events(reply) if it != "[DONE]" and it.get("usage"))
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (4, 2)
    request_id = reply.headers["x-request-id"].removeprefix("req_")
    assert sagemaker.cancelled == [request_id]
    assert sagemaker.bodies[1]["sluice"]["request_id"] == f"{request_id}.2"
    item = ledger_item(items, reply)
    assert (item["outcome"], item["finish_reason"]) == ("complete", "stop")
    assert (item["prompt_tokens"], item["continued_prompt_tokens"]) == (9, 5)
    assert (item["completion_tokens"], item["cost"]) == (2, 29)
    account = items.get_item(Key=account_key(KEY_ID))["Item"]
    assert (account["prompt_tokens"], account["completion_tokens"]) == (9, 2)
    assert (account["cost"], account["in_flight"]) == (29, {})


@pytest.mark.parametrize(("asked", "completion"), [({"max_tokens": 10}, 10), ({}, FIRST_STEP)])
@pytest.mark.parametrize("missing", [0, 1])
async def test_a_continuation_is_reserved_first(
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    items: Any,
    asked: dict[str, int],
    completion: int,
    missing: int,
) -> None:
    """A budget has to allow the second prompt too. What was held over the bill is given back."""
    body = {**STREAM, **ON, **asked}
    prompt = 2 * len(json.dumps(body)) + 512
    again = prompt + 2 * len("Hello")
    budget = prompt + completion + again - missing
    items.update_item(
        Key=account_key(KEY_ID),
        UpdateExpression="SET tokens_day = :budget",
        ExpressionAttributeValues={":budget": budget},
    )
    sagemaker.script = Runs([FIRST, None], [REST_OF_TWO])
    call = make_call(models={"m": msgspec.structs.replace(PRICED, context_tokens=100_000)})
    reply = await call(body=body)
    account = items.get_item(Key=account_key(KEY_ID))["Item"]
    assert account["in_flight"] == {}
    spent = 5 if missing else 11  # a prompt of 4 and a token, or prompts of 9 and two tokens
    windows = {len(name): left for name, left in account["balance"].items() if "tokens" in name}
    assert windows[len("tokens#2026-11-29")] == budget - spent
    if missing:
        assert "budget" in events(reply)[-1]["error"]["message"]
        assert len(sagemaker.bodies) == 1
    else:
        assert text(reply) == "Hello world"


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"logprobs": True},
        {"tools": [FUNCTION]},
        {"response_format": {"type": "json_object"}},
        {"structured_outputs": {"regex": "a+"}},
        {"messages": [*CHAT["messages"], {"role": "assistant", "content": "So"}]},
        {
            "messages": [
                *CHAT["messages"],
                {"role": "assistant", "content": [{"type": "text", "text": "So"}]},
            ],
            "continue_final_message": True,
        },
    ],
)
async def test_what_cannot_be_continued_is_refused(
    call: Call, sagemaker: StandIn, more: dict[str, Any]
) -> None:
    """A request whose response could not be continued is refused by name, and spends nothing."""
    reply = await call(body={**STREAM, **ON, **more})
    assert (reply.status, reply.error["param"]) == (400, "sluice.on_cut")
    assert sagemaker.bodies == []


async def test_the_setting_continues_what_can_be(
    make_call: Callable[..., Call], streams: Any, sagemaker: StandIn, items: Any
) -> None:
    """It needs no log, and nothing is kept for it. The bill has the second prompt."""
    call = make_call(on_cut="continue", stream_table=streams.name, models={"m": PRICED})
    sagemaker.script = Runs([FIRST, None], [REST_OF_TWO])
    reply = await call(body=STREAM)
    assert text(reply) == "Hello world"
    assert ledger_item(items, reply)["continued_prompt_tokens"] == 5
    assert "x-sluice-stream" not in reply.headers
    assert streams.scan(ConsistentRead=True)["Items"] == []


@pytest.mark.parametrize(
    "more", [{"logprobs": True}, {"tools": [FUNCTION]}, {"sluice": {"on_cut": "fail"}}]
)
async def test_the_setting_refuses_nothing(
    make_call: Callable[..., Call], sagemaker: StandIn, more: dict[str, Any]
) -> None:
    """A request whose response could not go on, or should not, is served as without it."""
    call = make_call(on_cut="continue")
    sagemaker.script = Runs([FIRST, None])
    reply = await call(body={**STREAM, **more})
    assert (reply.status, len(sagemaker.bodies)) == (200, 1)
    assert '"upstream_cut"' in reply.body.decode()


@pytest.mark.parametrize("dialect", ["tgi", "lmi-inputs"])
async def test_a_server_that_cannot_continue(make_call: Callable[..., Call], dialect: Any) -> None:
    """A model on a server without prefill refuses it."""
    models = {"m": Model(endpoint="endpoint-1", context_tokens=100, dialect=dialect)}
    reply = await make_call(models=models)(body={**STREAM, **ON})
    assert (reply.status, reply.error["param"]) == (400, "sluice.on_cut")


async def test_without_it_a_cut_is_an_error(call: Call, sagemaker: StandIn) -> None:
    """A request that does not ask for it gets the error, as `fail` says."""
    for body in (STREAM, {**STREAM, "sluice": {"on_cut": "fail"}}):
        sagemaker.script = Runs([FIRST, None], [REST])
        reply = await call(body=body)
        assert '"upstream_cut"' in reply.body.decode()
    assert len(sagemaker.bodies) == 2


async def test_the_partial_text_is_kept(
    make_call: Callable[..., Call], streams: Any, sagemaker: StandIn
) -> None:
    """If it cannot be continued, the error says why and how to go on, and names what is kept."""
    call = make_call(stream_table=streams.name)
    sagemaker.script = Runs(*[[FIRST, None]] * 3)
    reply = await call(body={**STREAM, **ON})
    assert text(reply) == "Hello" * 3
    error = events(reply)[-1]["error"]
    assert error["code"] == "upstream_cut"
    assert reply.headers["x-sluice-stream"] in error["message"]
    assert "continue_final_message" in error["message"]
