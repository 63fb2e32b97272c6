"""What real servers answered: `recordings/vllm-*/`, made by `make vllm-recordings`.

Each file has the server with its version and settings, the request, and the answer's bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn import errors
from lambda_fn.dialects.foreign import OPENAI
from lambda_fn.events import Failure
from tests.support.model_answers import Answer, answer, decode

FOLDER = Path(__file__).parent / "recordings"


@dataclass(frozen=True)
class Recorded:
    """A request, and what the server answered to it."""

    name: str
    request: dict[str, Any]
    status: int
    body: str

    @property
    def choices(self) -> int:
        """The number of choices that were requested."""
        return int(self.request.get("n", 1))

    @property
    def read(self) -> Answer:
        """What a client gets, streamed and whole, however the bytes are cut."""
        return answer(self.body.encode(), choices=self.choices)

    @property
    def records(self) -> list[dict[str, Any]]:
        """The server's records."""
        if not self.request.get("stream"):
            return [json.loads(self.body)]
        lines = [it.removeprefix("data: ") for it in self.body.split("\n\n") if it]
        return [json.loads(it) for it in lines if it != "[DONE]"]


def recorded(path: Path) -> Recorded:
    """Return a recording."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Recorded(path.stem, found["request"], found["status"], found["body"])


ALL = {it.name: it for it in map(recorded, sorted(FOLDER.glob("vllm-*/*.json")))}
REFUSED = {name: it for name, it in ALL.items() if name.startswith("bad-")}
ANSWERED = {name: it for name, it in ALL.items() if name not in REFUSED}
each_answer = pytest.mark.parametrize("it", ANSWERED.values(), ids=ANSWERED)


@each_answer
def test_an_answer(it: Recorded) -> None:
    """Each choice is whole: its text, calls and reason. The counts are the server's own."""
    found = it.read
    assert found.failure is None
    assert len(found.texts) == it.choices
    usage = it.records[-1]["usage"]
    assert found.counts[:2] == (usage["prompt_tokens"], usage["completion_tokens"])
    called = "tools" in it.request and it.name != "tools-auto-text.stream"
    limited = it.name.startswith(("length", "n2", "reasoning-length"))
    reason = "tool_calls" if called else "length" if limited else "stop"
    assert found.reasons == [reason] * it.choices
    for calls in found.calls:
        assert len(calls) == (1 if called else 0)
        for _, arguments in calls:
            assert isinstance(json.loads(arguments), dict)
    form = it.request.get("response_format", {}).get("json_schema", {}).get("schema")
    if form is not None:
        value = json.loads(found.texts[0])
        assert value == form["const"] if "const" in form else set(value) == {"name", "age"}
    if it.name.startswith("reasoning"):
        assert all(found.reasoning)


@pytest.mark.parametrize(
    "name", sorted(it.removesuffix(".whole") for it in ANSWERED if ".whole" in it)
)
def test_whole_and_streamed_are_the_same(name: str) -> None:
    """A greedy answer is the same in both forms, whatever names the server uses in them."""
    if ALL[f"{name}.whole"].request.get("temperature") != 0:
        assert name in ("plain", "tools-n2")
        return
    whole, streamed = ALL[f"{name}.whole"].read, ALL[f"{name}.stream"].read
    # vLLM does not count reasoning, and a whole answer has no chunks by which to count it.
    assert (whole.texts, whole.calls, whole.reasons, whole.counts[:3]) == (
        streamed.texts,
        streamed.calls,
        streamed.reasons,
        streamed.counts[:3],
    )
    assert whole.reasoning == streamed.reasoning


@each_answer
@settings(max_examples=10)
@given(data=st.data())
def test_a_cut_is_never_silent(it: Recorded, data: st.DataObject) -> None:
    """A stream that breaks off before its end is a failure. What was counted is not too much."""
    if not it.request.get("stream"):
        body = it.body.encode()[: data.draw(st.integers(0, len(it.body.encode()) - 2))]
    else:
        end = it.body.encode().rindex(b"[DONE]") + 6
        body = it.body.encode()[: data.draw(st.integers(0, end - 1))]
    events = decode("openai", body, choices=it.choices)
    assert isinstance(events[-1], Failure)
    counted = sum(getattr(event, "tokens", 0) for event in events)
    assert counted <= it.records[-1]["usage"]["completion_tokens"]


@pytest.mark.parametrize("it", REFUSED.values(), ids=REFUSED)
def test_a_refusal(it: Recorded) -> None:
    """What the server refuses is the request's fault, with a sentence and without the request.

    A model that it does not know is not the engine's failure either.
    """
    if it.status == 200:  # a grammar that cannot be made is told in the stream
        found = it.read.failure
        assert found is not None
        assert found.code == "invalid_request"
        return
    error = OPENAI.rejection(it.status, it.body)
    if it.name == "bad-model-direct.stream":
        assert type(error) is errors.NotFound
        return
    assert isinstance(error, errors.InvalidRequest)
    assert "Hello" not in error.message
    assert "word word" not in error.message
    expected = {
        "bad-temperature": "temperature",
        "bad-messages": "prompt",  # it was taken for a completion
        "bad-messages-direct": "messages",
        "bad-tools": "tools",
    }
    assert error.param == expected.get(it.name.removesuffix(".stream"))
    too_long = it.name.startswith(("bad-context", "bad-limit"))
    assert (type(error) is errors.ContextLengthExceeded) == too_long
