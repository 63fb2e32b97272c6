"""Moderation over all stages: prompts that are blocked, answers that are ended, and the books."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.settings import Guardrail, Moderation, Redaction
from tests.support.function import END, FINISH, START, USAGE, Call, Reply, StandIn, lines, part
from tests.support.guardrail import BAD, GuardrailStandIn, guardrail_stand_in
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

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
    """The model is not called, and nothing is billed. What the assistant said before counts not."""
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
    earlier = [asked, {"role": "assistant", "content": "No."}, {"role": "user", "content": "Hi"}]
    assert (await call(body={**CHAT, "messages": earlier})).status == 200


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
