"""Finish reasons of other servers -> OpenAI's."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.chat_completion_chunk import Choice

from lambda_fn.dialects.reasons import reason_of
from tests.support.model_answers import answer, chunk, sse

KNOWN: dict[str, list[Any]] = {
    "stop": ["stop", "eos_token", "stop_sequence", "eos", "end_turn", "STOP", "Stop", " stop ", "FINISH_REASON_STOP",
             "endTurn", "stop-sequence", "word", 151645, {"type": "stop", "matched": 151645}],
    "length": ["length", "max_tokens", "MAX_TOKENS", "maxTokens", "max_new_tokens", "model_length", "timeout",
               "repetition", "time_limit", "model_context_window_exceeded",
               "FinishReason.MAX_TOKENS", "finish_reason.length", {"reason": "length"},
               {"type": "length", "length": 5}],
    "tool_calls": ["tool_calls", "tool_use", "function_call", "TOOL_CALLS"],
    "content_filter": ["content_filter", "SAFETY", "RECITATION", "refusal", "sensitive"],
    "aborted": ["abort", "ABORT", "cancelled", {"type": "abort", "message": "m"}],
    "engine_error": ["error", "network_error", "insufficient_system_resource", "oom"],
}  # fmt: skip
NONE_YET: list[Any] = [
    None,
    "",
    "null",
    "None",
    " ",
    "unspecified",
    "FINISH_REASON_UNSPECIFIED",
    "pending",
    "generating",
    "N/A",
    False,
    {},
    [],
]


@pytest.mark.parametrize(("reason", "sent"), [(k, it) for k, them in KNOWN.items() for it in them])
def test_every_spelling_is_known(
    reason: str, sent: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A known reason becomes OpenAI's, or one of a failure, without a word in the log."""
    assert reason_of(sent) == reason
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("sent", NONE_YET, ids=repr)
def test_none_yet_in_any_spelling(sent: Any) -> None:
    """A reason that says "none yet" on each chunk does not swallow the real one.

    sgl-project/sglang#3912, ollama/ollama#4357, mudler/LocalAI#1886 and Ai00-X/ai00_server#90 send
    these.
    """
    found = answer(
        sse(chunk({"content": "a"}, sent), chunk({"content": "b"}, sent), chunk({}, "length"))
    )
    assert (found.text, found.reason) == ("ab", "length")
    assert answer(sse(chunk({"content": "a"}, sent), chunk({}, sent))).failure is not None


@pytest.mark.parametrize(
    ("sent", "mapped"),
    [("weird", "stop"), ("max_something", "length"), ("hit_the_limit", "length"), ("policy_block", "content_filter"),
     ("used_a_tool", "tool_calls"), ("engine_failure_7", "engine_error"), ("request_aborted", "aborted"),
     ("client_disconnect", "aborted"), ("preempted", "engine_error"), ("overloaded", "engine_error"),
     ("server_shutdown", "engine_error"), ("ctx_full", "length"), ("harmony_end", "stop")],
)  # fmt: skip
def test_an_unknown_reason_is_logged_and_mapped(
    sent: str, mapped: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown reason becomes what its words resemble, and the log has it."""
    assert reason_of(sent) == mapped
    logged = json.loads(capsys.readouterr().out)
    assert (logged["event"], logged["mapped"]) == ("finish_reason", mapped)
    assert logged["unknown"] == sent


@given(
    sent=st.text(max_size=60) | st.integers() | st.floats() | st.dictionaries(st.text(), st.text())
)
def test_nothing_unknown_is_passed_on(sent: Any) -> None:
    """Whatever a server sends, a client has one of OpenAI's reasons, or an error."""
    allowed = {*get_args(get_args(Choice.model_fields["finish_reason"].annotation)[0])}
    assert allowed == {"stop", "length", "tool_calls", "content_filter", "function_call"}
    assert reason_of(sent) in allowed | {None, "aborted", "engine_error"}


def test_a_text_of_the_caller_is_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """LMI may send the stop sequence itself as the reason, which ends an answer in order."""
    for sequence in ("\n\nUser 42: how are you?", "Error:", "max length!"):
        assert reason_of(sequence) == "stop"
    assert not {"User", "Error", "max"} & set(capsys.readouterr().out.split('"'))
