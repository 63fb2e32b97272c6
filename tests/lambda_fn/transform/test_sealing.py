"""A summary goes out sealed, in one piece, or not at all."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.errors import APIError
from lambda_fn.events import Delta, End, Event, Finish, Start, Usage
from lambda_fn.transform import sealing
from lambda_fn.transform.sealing import Seal


def delta(text: str, **more: Any) -> Delta:
    """Return a delta of content."""
    return Delta(msgspec.Raw(msgspec.json.encode({"content": text, **more})), tokens=1)


def run(*events: Event) -> list[Event]:
    """Return what goes out of a response, of which each event comes alone."""
    seal = Seal(lambda text: f"<{text}>")
    return [out for event in events for out in seal.feed([event])]


@given(st.text(min_size=1).filter(str.strip), st.lists(st.integers(0, 99)))
def test_however_it_is_cut(text: str, cuts: list[int]) -> None:
    """The pieces become one, with their tokens, and everything else passes."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [delta(text[a:b]) for a, b in pairwise(places)]
    finish, usage = Finish("stop"), Usage(4, len(pieces))
    found = run(Start(4), *pieces, finish, usage, End())
    assert found[0] == Start(4)
    assert found[2:] == [finish, usage, End()]
    assert isinstance(found[1], Delta)
    assert msgspec.json.decode(found[1].delta) == {"content": f"<{text.strip()}>"}
    assert found[1].tokens == len(pieces)


def test_reasoning_and_calls_are_dropped() -> None:
    """Only the text is the summary."""
    thought = Delta(msgspec.Raw(b'{"reasoning_content":"Hm."}'), tokens=1)
    call = Delta(msgspec.Raw(b'{"tool_calls":[{"index":0}]}'), tokens=1)
    (sealed, _) = run(thought, delta("x"), call, Finish("tool_calls"))
    assert isinstance(sealed, Delta)
    assert (bytes(sealed.delta), sealed.tokens) == (b'{"content":"<x>"}', 3)


@pytest.mark.parametrize(
    ("text", "finish", "status", "code"),
    [
        ("x", Finish("length"), 400, "context_length_exceeded"),
        ("x", Finish("length", ended="deadline"), 504, "upstream_timeout"),
        ("x", Finish("length", ended="budget"), 429, "insufficient_quota"),
        ("x", Finish("length", ended="meter"), 503, "service_unavailable"),
        ("x", Finish("content_filter"), 400, "content_filter"),
        (" \n", Finish("stop"), 502, "upstream_error"),
    ],
)
def test_a_summary_that_is_not_whole(text: str, finish: Finish, status: int, code: str) -> None:
    """What was cut, stopped or never written is an error that says so."""
    with pytest.raises(APIError) as refused:
        run(delta(text), finish)
    assert (refused.value.status, refused.value.code) == (status, code)


def test_a_summary_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary that is too long ends before all of it is in memory."""
    monkeypatch.setattr(sealing, "MAX_SUMMARY", 3)
    with pytest.raises(APIError, match="over 3 characters"):
        run(delta("ab"), delta("cd"))


def test_a_malformed_record() -> None:
    """A delta that is no object of OpenAI's is the model's error."""
    with pytest.raises(APIError, match="malformed"):
        run(Delta(msgspec.Raw(b'{"content":5}')))
