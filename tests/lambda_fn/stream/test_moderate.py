"""Moderation over all stages: prompts that are blocked, answers that are ended, and the books."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, Any

import pytest
from openai.types.chat import chat_completion, chat_completion_chunk
from openai.types.responses import response

from lambda_fn import limits
from lambda_fn.metering import accounts
from lambda_fn.settings import Guardrail, Moderation, Redaction
from lambda_fn.stream import moderate
from tests.support.function import END, FINISH, KEY, START, USAGE, Call, Reply, StandIn, lines, part
from tests.support.guardrail import BAD, GuardrailStandIn, guardrail_stand_in
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

if TYPE_CHECKING:
    from pydantic import BaseModel

pytestmark = pytest.mark.usefixtures("account")
RULES = Moderation(words={"violence": (BAD,)})


@pytest.fixture(name="stand_in")
async def _stand_in() -> AsyncIterator[GuardrailStandIn]:
    async with guardrail_stand_in() as stand_in:
        yield stand_in


@pytest.fixture(name="guarded")
def _guarded(make_call: Callable[..., Call], stand_in: GuardrailStandIn) -> Callable[..., Call]:
    """Return a function that makes applications with a guardrail."""

    def make(**changes: Any) -> Call:
        policy = Moderation(guardrail=Guardrail("abc", "1", **changes))
        return make_call(moderation=policy, bedrock_url=stand_in.url)

    return make


def said(*pieces: str, end: bool = True) -> list[bytes]:
    """Return the frames of an answer whose content comes in these pieces."""
    deltas = [
        part(lines({"type": "delta", "index": 0, "delta": {"content": it}, "tokens": 1}))
        for it in pieces
    ]
    ending = [part(lines(FINISH, USAGE, END))] if end else []
    return [part(lines(START)), *deltas, *ending]


def finish_of(reply: Reply) -> str:
    """Return the finish reason of a streamed chat."""
    reasons = [it["choices"][0]["finish_reason"] for it in events(reply)[:-1] if it["choices"]]
    (reason,) = [it for it in reasons if it]
    return str(reason)


async def test_an_answer_is_ended_by_a_rule(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any
) -> None:
    """It finishes with `content_filter`, is settled with what was sampled, and is cancelled."""
    sagemaker.script = [*said("So ", "forb", "idden.", end=False), asyncio.Event()]
    reply = await make_call(moderation=RULES)(body=STREAM)
    assert (reply.status, text(reply), finish_of(reply)) == (200, "So ", "content_filter")
    assert events(reply)[-1] == "[DONE]"
    item = ledger_item(items, reply)
    found = [item[it] for it in ("outcome", "finish_reason", "completion_tokens")]
    assert found == ["complete", "content_filter", 3]
    assert sagemaker.cancelled == [reply.headers["x-request-id"].removeprefix("req_")]


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        ("/v1/chat/completions", CHAT, "content_filter"),
        ("/v1/completions", {"model": "m", "prompt": "Hi"}, "content_filter"),
        ("/v1/messages", {**CHAT, "max_tokens": 20}, "refusal"),
    ],
)
async def test_whole_answers(
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    path: str,
    body: dict[str, Any],
    reason: str,
) -> None:
    """An answer in one body has the reason of its form, and the usage until then."""
    sagemaker.script = [*said("So ", BAD + ".", end=False), asyncio.Event()]
    answer = json.loads((await make_call(moderation=RULES)(path=path, body=body)).body)
    found = answer["stop_reason"] if path == "/v1/messages" else answer["choices"][0]
    assert (found if isinstance(found, str) else found["finish_reason"]) == reason
    assert BAD not in json.dumps(answer)
    assert 2 in answer["usage"].values()


async def test_a_prompt_is_blocked_by_a_rule(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any
) -> None:
    """The model is not called, and nothing is billed."""
    call = make_call(moderation=RULES)
    asked = {"role": "user", "content": [{"type": "text", "text": f"Say {BAD}!"}]}
    reply = await call(body={**CHAT, "messages": [asked]})
    assert (reply.status, reply.error["code"], reply.error["param"]) == (
        400,
        "content_filter",
        "messages",
    )
    assert "violence" in reply.error["message"]
    assert sagemaker.bodies == []
    assert ledger_item(items, reply)["completion_tokens"] == 0


EARLIER: list[dict[str, Any]] = [
    {"role": "user", "content": f"Say {BAD}!"},
    {"role": "system", "content": f"Say {BAD}!"},
    {"role": "assistant", "content": f"I say {BAD}."},
    {"role": "assistant", "content": "Hm.", "reasoning_content": f"I say {BAD}."},
    {"role": "assistant", "refusal": f"I do not say {BAD}."},
]


@pytest.mark.parametrize("message", EARLIER)
async def test_earlier_messages_are_checked(
    guarded: Callable[..., Call],
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    message: dict[str, Any],
) -> None:
    """A caller may have written all of a conversation, also what the assistant said in it."""
    messages = [message, {"role": "assistant", "content": "No."}, {"role": "user", "content": "Hi"}]
    for call in (make_call(moderation=RULES), guarded()):
        reply = await call(body={**CHAT, "messages": messages})
        assert (reply.status, reply.error["code"]) == (400, "content_filter")
    assert sagemaker.bodies == []


async def test_what_tools_say_is_checked(
    guarded: Callable[..., Call], make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """The model reads the descriptions of tools and of their parameters."""
    parameters = {"type": "object", "properties": {"a": {"type": "string", "description": BAD}}}
    for function in ({"name": "f", "description": BAD}, {"name": "f", "parameters": parameters}):
        for call in (make_call(moderation=RULES), guarded()):
            tools = [{"type": "function", "function": function}]
            reply = await call(body={**CHAT, "tools": tools})
            assert (reply.status, reply.error["code"]) == (400, "content_filter")
    assert sagemaker.bodies == []


BESIDE: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "Hi", "name": BAD}]},
    {
        "messages": [
            {
                "role": "assistant",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": f"say {BAD}", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "1"},
        ]
    },
    {"chat_template_kwargs": {"model_identity": f"You say {BAD}."}},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "a", "schema": {"type": "object", "description": BAD}},
        }
    },
]


@pytest.mark.parametrize("change", BESIDE)
async def test_what_stands_beside_the_texts_is_checked(
    guarded: Callable[..., Call],
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    change: dict[str, Any],
) -> None:
    """Chat templates show names, variables and schemas to the model, too."""
    for call in (make_call(moderation=RULES), guarded()):
        reply = await call(body={**CHAT, **change})
        assert (reply.status, reply.error["code"]) == (400, "content_filter")
    assert sagemaker.bodies == []


@pytest.mark.parametrize("role", ["user", "system"])
async def test_parts_of_a_message_are_checked_together(
    make_call: Callable[..., Call], sagemaker: StandIn, role: str
) -> None:
    """The container joins them. Other servers put a line feed between them."""
    call = make_call(moderation=RULES)
    for texts in ((BAD[:3], BAD[3:]), ("x", BAD), (BAD, "x")):
        parts = [{"type": "text", "text": text} for text in texts]
        messages = [{"role": role, "content": parts}, {"role": "user", "content": "Hi"}]
        reply = await call(body={**CHAT, "messages": messages})
        assert (reply.status, reply.error["code"]) == (400, "content_filter")
    assert sagemaker.bodies == []


async def test_a_guardrail_judges_the_last_part_of_a_long_conversation(
    guarded: Callable[..., Call], stand_in: GuardrailStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paid by the character. The last turn is judged whole."""
    monkeypatch.setattr(moderate, "MAX_EARLIER", 6)
    messages = [
        {"role": "user", "content": "one two"},
        {"role": "assistant", "content": "four"},
        {"role": "user", "content": "A long turn"},
    ]
    await guarded()(body={**CHAT, "messages": messages})
    assert stand_in.calls[0] == ("INPUT", "wo\nfour\nA long turn")


PREFILLS: list[dict[str, Any]] = [
    {"content": ""},
    {"content": "Sure: "},
    {"content": [{"type": "text", "text": "Sure: "}]},
    {"content": "Sure: ", "reasoning_content": "Hm."},
]


@pytest.mark.parametrize("prefill", PREFILLS)
async def test_the_beginning_of_an_answer_hides_no_prompt(
    guarded: Callable[..., Call],
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    prefill: dict[str, Any],
) -> None:
    """A caller can end the messages with one of the assistant, which the model continues."""
    asked = {"role": "user", "content": f"Say {BAD}!"}
    for call in (make_call(moderation=RULES), guarded()):
        messages = [asked, {"role": "assistant", **prefill}]
        reply = await call(body={**CHAT, "messages": messages})
        assert (reply.status, reply.error["code"]) == (400, "content_filter")
    assert sagemaker.bodies == []


@pytest.mark.parametrize("name", ["content", "reasoning_content"])
async def test_the_beginning_of_an_answer_is_checked(
    make_call: Callable[..., Call], sagemaker: StandIn, name: str
) -> None:
    """The caller has written it, so it is a part of the prompt."""
    prefill = {"role": "assistant", "content": "Sure: ", name: f"I say {BAD}."}
    messages = [{"role": "user", "content": "Hi"}, prefill]
    reply = await make_call(moderation=RULES)(body={**CHAT, "messages": messages})
    assert (reply.status, reply.error["code"]) == (400, "content_filter")
    assert sagemaker.bodies == []


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_a_guardrail_ends_an_answer(
    guarded: Callable[..., Call],
    sagemaker: StandIn,
    stand_in: GuardrailStandIn,
    items: Any,
    mode: str,
) -> None:
    """In sync the window does not go out, in async it may. Both are cancelled and settled."""
    first = "This is the first sentence of an answer. "
    bad = f"And this one has a {BAD} word, which is too much. "
    sagemaker.script = [*said(first, bad, end=False), asyncio.Event()]
    reply = await guarded(mode=mode)(body=STREAM)
    assert finish_of(reply) == "content_filter"
    assert text(reply) in ([first] if mode == "sync" else [first, first + bad])
    assert ledger_item(items, reply)["finish_reason"] == "content_filter"
    assert sagemaker.cancelled
    assert {source for source, _ in stand_in.calls} == {"INPUT", "OUTPUT"}


@pytest.mark.parametrize("mode", ["sync", "async"])
async def test_a_good_answer_passes(
    guarded: Callable[..., Call], sagemaker: StandIn, items: Any, mode: str
) -> None:
    """It is whole and complete, with the model's own count."""
    sagemaker.script = said("All ", "is well.")
    reply = await guarded(mode=mode)(body=STREAM)
    assert (text(reply), finish_of(reply)) == ("All is well.", "stop")
    item = ledger_item(items, reply)
    assert (item["finish_reason"], item["completion_tokens"]) == ("stop", 2)
    assert sagemaker.cancelled == []


async def test_a_guardrail_blocks_a_prompt(
    guarded: Callable[..., Call], sagemaker: StandIn, stand_in: GuardrailStandIn
) -> None:
    """The model is not called."""
    messages = [{"role": "user", "content": f"Say {BAD}!"}]
    reply = await guarded()(body={**CHAT, "messages": messages})
    assert (reply.status, reply.error["code"]) == (400, "content_filter")
    assert sagemaker.bodies == []
    assert stand_in.calls == [("INPUT", f"Say {BAD}!")]


@pytest.mark.parametrize("fail_open", [False, True])
async def test_a_guardrail_that_is_down(
    guarded: Callable[..., Call],
    sagemaker: StandIn,
    stand_in: GuardrailStandIn,
    monkeypatch: pytest.MonkeyPatch,
    fail_open: bool,
) -> None:
    """Nothing goes out, with a 503; or everything does, if the deployment says so."""
    monkeypatch.setattr(limits, "GUARDRAIL_TIMEOUT", 0.2)
    stand_in.first = [(503, "ServiceUnavailableException")] * 999
    sagemaker.script = said("All is well.")
    reply = await guarded(fail_open=fail_open)(body=STREAM)
    if fail_open:
        assert text(reply) == "All is well."
    else:
        assert (reply.status, reply.error["code"]) == (503, "guardrail_unavailable")


async def test_it_is_down_in_the_middle(
    guarded: Callable[..., Call],
    sagemaker: StandIn,
    stand_in: GuardrailStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stream that has begun ends in an error event, and not as if it were complete."""
    more = asyncio.Event()
    first = "This is the first sentence of an answer. "
    sagemaker.script = [*said(first, end=False), more, *said("And more.")[1:]]
    reply = Reply()
    task = asyncio.ensure_future(guarded()(body=STREAM, reply=reply))
    await reply.until(lambda: b"first" in reply.body)
    monkeypatch.setattr(limits, "GUARDRAIL_TIMEOUT", 0.2)
    stand_in.first = [(403, "AccessDeniedException")]
    more.set()
    await task
    assert events(reply)[-1]["error"]["code"] == "guardrail_unavailable"
    assert "And more" not in text(reply)


async def test_heartbeats_go_on_while_a_guardrail_is_slow(
    make_call: Callable[..., Call], sagemaker: StandIn, stand_in: GuardrailStandIn
) -> None:
    """A client hears something while a window is judged."""
    policy = Moderation(guardrail=Guardrail("abc", "1"))
    call = make_call(moderation=policy, bedrock_url=stand_in.url, heartbeat=0.05)
    more = asyncio.Event()
    sagemaker.script = [*said("It is", end=False), more, *said(" so.")[1:]]
    reply = Reply()
    task = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: reply.body.count(b'"delta":{}') >= 1)
    stand_in.gate.clear()
    more.set()
    heard = reply.body.count(b'"delta":{}')
    await reply.until(lambda: reply.body.count(b'"delta":{}') >= heard + 3)
    assert "It is" not in text(reply)
    stand_in.gate.set()
    assert text(await task) == "It is so."


async def test_a_guardrail_never_sees_what_is_redacted(
    make_call: Callable[..., Call], sagemaker: StandIn, stand_in: GuardrailStandIn
) -> None:
    """Redaction comes first."""
    call = make_call(
        moderation=Moderation(guardrail=Guardrail("abc", "1")),
        bedrock_url=stand_in.url,
        redaction=Redaction(("email",)),
    )
    sagemaker.script = said("To ada@", "example.com.")
    assert text(await call(body=STREAM)) == "To [EMAIL]."
    assert stand_in.calls[-1] == ("OUTPUT", "To [EMAIL].")


SCORES = Moderation(words={"violence": (BAD,), "other": ("absent",)}, mode="score")
ASKED = {"moderation": {"model": "omni-moderation-latest"}}
RESPONSE = {"model": "m", "input": "Hi", "store": False}


def block(side: str) -> dict[str, Any]:
    """Return OpenAI's field of a request that blocks one side."""
    return {"moderation": {"model": "x", "policy": {side: {"mode": "block"}}}}


def result(*flagged: str) -> dict[str, Any]:
    """Return the result of one side."""
    names = sorted({"violence", "other", *flagged})
    return {
        "type": "moderation_result",
        "model": "sluice-moderation",
        "flagged": bool(flagged),
        "categories": {name: name in flagged for name in names},
        "category_scores": {name: float(name in flagged) for name in names},
        "category_applied_input_types": {name: ["text"] for name in names},
    }


def told(reply: Reply) -> Any:
    """Return what a response tells of its moderation, by its own form; None if it does not."""
    if reply.headers["content-type"] == "application/json":
        return json.loads(reply.body).get("moderation")
    if reply.body.startswith(b"event: "):
        *_, last = [
            json.loads(line[6:]) for line in reply.body.splitlines() if line.startswith(b"data: {")
        ]
        return last["response"].get("moderation")
    found = [event for event in events(reply)[:-1] if "moderation" in event]
    return found[0]["moderation"] if found else None


def one_each(moderation: Any, *, chat: bool) -> Any:
    """Return what is told with one result a side, which a chat has a list of."""
    if not chat:
        return moderation
    for side in moderation.values():
        assert side["type"] == "moderation_results"
        assert len(side["results"]) == 1
    return {name: side["results"][0] for name, side in moderation.items()}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", STREAM),
        ("/v1/responses", RESPONSE),
        ("/v1/responses", {**RESPONSE, "stream": True}),
    ],
)
async def test_a_request_that_asks_is_told(
    make_call: Callable[..., Call], sagemaker: StandIn, path: str, body: dict[str, Any]
) -> None:
    """OpenAI's field has the response tell what was flagged. Without a policy, nothing is blocked.

    Who does not ask is told nothing.
    """
    sagemaker.script = said("So ", "forb", "idden.")
    call = make_call(moderation=SCORES)
    reply = await call(path=path, body={**body, **ASKED})
    assert reply.status == 200
    found = one_each(told(reply), chat=path == "/v1/chat/completions")
    assert found == {"input": result(), "output": result("violence")}
    assert "moderation" not in sagemaker.bodies[-1]
    assert told(await call(path=path, body=body)) is None


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({}, 200),
        (ASKED, 200),
        (block("input"), 400),
        (block("output"), 200),
        ({"sluice": {"moderate": "block"}}, 400),
    ],
)
async def test_who_blocks_a_prompt(
    make_call: Callable[..., Call], more: dict[str, Any], status: int
) -> None:
    """A deployment that only scores blocks what a request wants to be blocked."""
    prompt = {"messages": [{"role": "user", "content": f"Say {BAD}!"}]}
    reply = await make_call(moderation=SCORES)(body={**CHAT, **prompt, **more})
    assert reply.status == status
    if status == 200 and "moderation" in more:
        assert json.loads(reply.body)["moderation"]["input"]["results"] == [result("violence")]


@pytest.mark.parametrize(
    ("more", "finish"),
    [
        ({}, "stop"),
        (block("input"), "stop"),
        (block("output"), "content_filter"),
        ({"sluice": {"moderate": "block"}}, "content_filter"),
    ],
)
async def test_who_blocks_an_answer(
    make_call: Callable[..., Call], sagemaker: StandIn, more: dict[str, Any], finish: str
) -> None:
    """An answer is ended where the request says so. One that is only scored passes as it comes."""
    sagemaker.script = said("So ", "forb", "idden.")
    reply = await make_call(moderation=SCORES)(body={**STREAM, **more})
    assert finish_of(reply) == finish
    assert text(reply) == ("So " if finish == "content_filter" else f"So {BAD}.")


async def test_a_request_cannot_be_laxer(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any
) -> None:
    """What the deployment or the key blocks is blocked, whatever mode the request has."""
    lax = {"moderation": {"model": "x", "policy": {"output": {"mode": "score"}}}}
    sagemaker.script = said("So ", "forb", "idden.")
    reply = await make_call(moderation=RULES)(body={**STREAM, **lax})
    assert finish_of(reply) == "content_filter"
    assert one_each(told(reply), chat=True)["output"]["flagged"] is True
    items.put_item(Item=accounts.new_account(KEY, name="k", now=1, moderate="block"))
    call = make_call(moderation=SCORES, meter_open=True)
    sagemaker.script = said("So ", "forb", "idden.")
    assert finish_of(await call(body={**STREAM, **lax})) == "content_filter"
    usage = json.loads((await call("GET", "/v1/usage")).body)
    assert usage["key"]["moderate"] == "block"


@pytest.mark.parametrize("name", ["moderation", "sluice.moderate"])
async def test_a_deployment_without_moderation_refuses(
    make_call: Callable[..., Call], sagemaker: StandIn, name: str
) -> None:
    """A request that asks for it is not answered without it."""
    more = ASKED if name == "moderation" else {"sluice": {"moderate": "block"}}
    reply = await make_call()(body={**CHAT, **more})
    assert (reply.status, reply.error["param"]) == (400, name)
    assert sagemaker.bodies == []


async def test_a_guardrail_that_scores(
    make_call: Callable[..., Call], sagemaker: StandIn, stand_in: GuardrailStandIn
) -> None:
    """It ends nothing, and all of its text is judged before the response tells what was flagged.

    If it does not judge, the response says that.
    """
    policy = Moderation(guardrail=Guardrail("abc", "1"), mode="score")
    call = make_call(moderation=policy, bedrock_url=stand_in.url)
    sagemaker.script = said("So ", "forb", "idden.")
    reply = await call(body={**STREAM, **ASKED})
    assert text(reply) == f"So {BAD}."
    found = one_each(told(reply), chat=True)
    assert found["input"]["flagged"] is False
    assert found["output"]["categories"] == {"VIOLENCE": True, "wordPolicy": True}
    stand_in.first = [(400, "ValidationException")] * 2
    sagemaker.script = said("All ", "is well.")
    reply = await call(body={**STREAM, **ASKED})
    assert (text(reply), finish_of(reply)) == ("All is well.", "stop")
    assert {side["code"] for side in told(reply).values()} == {"guardrail_unavailable"}
    stand_in.calls.clear()
    await call(body=STREAM)
    assert stand_in.calls == []


async def test_a_replay_tells_the_same(
    make_call: Callable[..., Call], sagemaker: StandIn, streams: Any
) -> None:
    """What was flagged is in the log, so that a repeat gets the same bytes."""
    sagemaker.script = said("So ", "forb", "idden.")
    call = make_call(moderation=SCORES, stream_table=streams.name)
    first = await call(body={**STREAM, **ASKED}, more={"idempotency-key": "k"})
    again = await call(body={**STREAM, **ASKED}, more={"idempotency-key": "k"})
    assert again.headers["x-sluice-replayed"] == "true"
    assert again.body == first.body
    assert one_each(told(again), chat=True)["output"]["flagged"] is True


@pytest.mark.parametrize("form", ["chat", "chunk", "response"])
async def test_openais_types_take_the_objects(
    make_call: Callable[..., Call], sagemaker: StandIn, form: str
) -> None:
    """openai-python's types take what is told, in each form."""
    sagemaker.script = said("So ", "forb", "idden.")
    path = "/v1/responses" if form == "response" else "/v1/chat/completions"
    bodies: dict[str, dict[str, Any]] = {"chat": CHAT, "chunk": STREAM, "response": RESPONSE}
    body = bodies[form]
    reply = await make_call(moderation=SCORES)(path=path, body={**body, **ASKED})
    kinds: dict[str, type[BaseModel]] = {
        "chat": chat_completion.Moderation,
        "chunk": chat_completion_chunk.Moderation,
        "response": response.Moderation,
    }
    found = kinds[form].model_validate(told(reply), strict=True)
    assert found.model_dump(exclude_unset=True) == told(reply)
