"""Reasoning between tags is separated wherever the pieces end, and what is hidden never leaves."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.events import NULL, Delta, End, Event, Failure, Finish, Usage
from lambda_fn.transform.reasoning import Separate

BOTH = "<think> </think>"
ENDING: list[Event] = [Finish("stop"), Usage(3, 100), End()]


def delta(fields: dict[str, Any], tokens: int = 1, logprobs: msgspec.Raw = NULL) -> Delta:
    """Return a delta."""
    return Delta(msgspec.Raw(json.dumps(fields).encode()), 0, tokens, logprobs)


def said(separate: Separate, events: list[Event]) -> tuple[str, str, int]:
    """Return the reasoning, the content and the reasoning tokens of an answer."""
    out = [it for event in [*events, *ENDING] for it in separate.feed([event])]
    deltas = [msgspec.json.decode(event.delta) for event in out if isinstance(event, Delta)]
    usage = next(event for event in out if isinstance(event, Usage))
    assert isinstance(out[-1], End)
    return (
        "".join(it.get("reasoning_content", "") for it in deltas),
        "".join(it.get("content", "") for it in deltas),
        usage.reasoning_tokens,
    )


TEXTS: list[tuple[str, str, str, str]] = [
    (BOTH, "<think>a b</think>\n\nSo.", "a b", "So."),
    (BOTH, "\n<think>\na</think>So. <think>x</think>", "\na", "So. <think>x</think>"),
    (BOTH, "So <think>", "", "So <think>"),
    (BOTH, "<thin", "", "<thin"),
    (BOTH, "<think>a</thin", "a</thin", ""),
    (BOTH, "<think></think>So.", "", "So."),
    (BOTH, " " * 70 + "<think>a</think>", "", " " * 70 + "<think>a</think>"),
    ("</think>", "a <b </think> So.", "a <b ", "So."),
    ("</think>", "no end", "no end", ""),
    ("[THINK] [/THINK]", "[THINK]a[/THINK]So [1].", "a", "So [1]."),
]


@given(st.sampled_from(TEXTS), st.lists(st.integers(0, 200), max_size=8))
def test_tags(row: tuple[str, str, str, str], cuts: list[int]) -> None:
    """The same text is separated the same, however it is cut. Hidden, only the content is left."""
    tags, text, reasoning, content = row
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    events: list[Event] = [delta({"content": text[a:b]}) for a, b in pairwise(places)]
    found = said(Separate(1, tags), events)
    assert found[:2] == (reasoning, content)
    hidden = said(Separate(1, tags, hidden=True), events)
    assert hidden == ("", content, found[2])


def test_tokens_of_reasoning_are_counted() -> None:
    """The tokens of pieces within the tags count, a shared piece by its text. The server's own
    count is better.
    """
    pieces = ["<think>", "aa", "aa", "aa</think>bb", "b"]
    events: list[Event] = [delta({"content": piece}, 2) for piece in pieces]
    assert said(Separate(1, BOTH), events) == ("aaaaaa", "bbb", 7)
    own = Separate(1, BOTH).feed([*events, Finish("stop"), Usage(3, 10, 0, 5)])
    assert own[-1] == Usage(3, 10, 0, 5)


def test_reasoning_that_is_turned_off() -> None:
    """With only a closing tag, an answer without reasoning is content from its start."""
    assert said(Separate(1, "</think>", off=True), [delta({"content": "So."})]) == ("", "So.", 0)


def test_hidden_reasoning_of_a_parser() -> None:
    """What a server has separated is hidden too, with its log probabilities. Calls stay."""
    logprobs = msgspec.Raw(b'{"content":[{"token":"secret","logprob":0.0}]}')
    call = {"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}
    separate = Separate(1, hidden=True)
    out = separate.feed(
        [
            delta({"reasoning_content": "secret"}, logprobs=logprobs),
            delta({"reasoning_content": "secret", "content": "So."}, logprobs=logprobs),
            delta({"reasoning_content": "secret", **call}),
            delta({"content": " it is", "refusal": "No."}),
            Finish("stop"),
        ]
    )
    assert b"secret" not in msgspec.json.encode(out)
    sent = [msgspec.json.decode(event.delta) for event in out if isinstance(event, Delta)]
    assert sent == [{"content": "So."}, call, {"content": " it is", "refusal": "No."}]


@pytest.mark.parametrize("tags", [None, BOTH, "</think>"])
def test_log_probabilities_of_shown_text_stay(tags: str | None) -> None:
    """Each entry goes out with its text, in order."""
    entries = [{"token": token, "logprob": 0.0} for token in ("<", "think>", "a", "</think>", "b")]
    events: list[Event] = [
        delta(
            {"content": it["token"]},
            logprobs=msgspec.Raw(json.dumps({"content": [it]}).encode()),
        )
        for it in entries
    ]
    out = Separate(1, tags).feed([*events, *ENDING])
    found = [
        entry
        for event in out
        if isinstance(event, Delta)
        for entry in (msgspec.json.decode(event.logprobs) or {"content": []})["content"]
    ]
    assert found == entries


def test_a_failure_loses_no_text() -> None:
    """What was held goes out before a failure, which stays the last event."""
    out = Separate(1, BOTH).feed([delta({"content": "<thi"}), Failure("cut", "It broke off.")])
    assert msgspec.json.decode(out[0].delta) == {"content": "<thi"}  # type: ignore[union-attr]
    assert out[1:] == [Failure("cut", "It broke off.")]
