"""Maps the finish reasons of other servers to OpenAI's. Pure but for one log line.

Servers spell the same few reasons in many ways, and some spell "none yet" as a text.
"""

import re
from typing import Any

from lambda_fn.events import Failure
from lambda_fn.log import log

Reason = Any
"""The types that a server may send as a finish reason. SGLang's own API sends an object with
`type`, and LMI the stop token's number.
"""

STOP, LENGTH, TOOL_CALLS, CONTENT_FILTER = "stop", "length", "tool_calls", "content_filter"
ABORTED, ENGINE_ERROR = "aborted", "engine_error"
_FAILURES = {ABORTED, ENGINE_ERROR}

_NONE_YET = {
    "", "null", "none", "nil", "undefined", "unspecified", "unfinished", "not_finished",
    "in_progress", "running", "continue", "pending", "generating", "n/a",
}  # fmt: skip
# An answer that a time limit, or a guard against repetition, cut is not whole.
_SPELLINGS = {
    STOP: """
        stop stopped eos eos_token eos_found end end_turn end_of_turn end_of_text endoftext
        end_of_sequence stop_sequence stop_sequences stop_string stop_str stop_word stop_words
        stop_token stop_token_id word done finish finished complete completed success normal
        pause_turn
    """,
    LENGTH: """
        length max_length max_len max_tokens max_token max_new_tokens max_output_tokens
        max_completion_tokens max_total_tokens token_limit length_limit limit model_length
        context_length context_length_exceeded context_window_exceeded
        model_context_window_exceeded out_of_context timeout timed_out time_limit max_time time
        deadline repetition repetition_detected repetitive loop truncated truncation cut incomplete
        compaction
    """,
    TOOL_CALLS: "tool_calls tool_call tool_use tools tool function_calls function_call function",
    CONTENT_FILTER: """
        content_filter content_filtered content_filtering content_policy filter filtered safety
        image_safety recitation blocklist blocked prohibited_content spii language sensitive
        refusal moderation guardrail guardrails guardrail_intervened violation
    """,
    ABORTED: "abort aborted cancel canceled cancelled disconnect disconnected",
    ENGINE_ERROR: """
        error errored fail failed failure exception engine_error server_error internal_error
        network_error oom malformed_function_call insufficient_system_resource
    """,
}
_KNOWN = {spelling: reason for reason, names in _SPELLINGS.items() for spelling in names.split()}
_HINTS = {
    ABORTED: ("abort", "cancel", "disconnect", "interrupt"),
    ENGINE_ERROR: (
        *(
            "error",
            "fail",
            "exception",
            "crash",
            "killed",
            "shutdown",
            "out_of_memory",
            "preempt",
            "evict",
        ),
        *("overload", "rate_limit", "unload"),
    ),
    LENGTH: ("length", "limit", "max", "trunc", "exceed", "time", "budget", "quota", "_full"),
    CONTENT_FILTER: ("filter", "safety", "block", "moderat", "polic", "refus", "harmful", "toxic"),
    TOOL_CALLS: ("tool", "function"),
}
_MAX_SPELLING = 40
_OF_AN_ENUM = re.compile("^(?:finish|stop)_?reason\\.")
"""The text that Python writes before the name of an enumeration's member."""


def reason_of(sent: Reason) -> str | None:
    """Return OpenAI's reason, `cancelled` or `engine_error`, or None if there is no reason yet.

    An unknown reason is logged, unless it may be a caller's stop sequence, and becomes the one that
    its words resemble, or else `stop`.
    """
    if isinstance(sent, dict):
        sent = sent.get("type") or sent.get("reason")
    if sent is None or sent is False or isinstance(sent, list | dict):
        return None
    if not isinstance(sent, str):
        return STOP  # a stop token's number
    known = _KNOWN.get(sent)  # as nearly every server spells it
    if known is not None:
        return known
    word = re.sub(
        r"[\s-]+", "_", re.sub("(?<=[a-z])(?=[A-Z])", "_", sent[: 2 * _MAX_SPELLING].strip())
    ).lower()
    word = _OF_AN_ENUM.sub("", word).removeprefix("finish_reason_").removeprefix("stop_reason_")
    if word in _NONE_YET:
        return None
    known = _KNOWN.get(word)
    if known is not None:
        return known
    found = STOP
    if len(word) > _MAX_SPELLING or not re.fullmatch("[a-z0-9]+(_[a-z0-9]+)*", word):
        word = ""  # it may be a stop sequence of the caller
    for reason, hints in _HINTS.items():
        if any(hint in word for hint in hints):
            found = reason
            break
    log("finish_reason", unknown=word, mapped=found)
    return found


def failure_for(reason: str) -> Failure | None:
    """Return the failure that a reason stands for, or None if it ends a response in order."""
    if reason in _FAILURES:
        return Failure(code=reason, message="The model ended the response early.")
    return None
