"""Buffering loses nothing, cuts only between grapheme clusters, and holds little text."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
import regex
from hypothesis import example, given
from hypothesis import strategies as st

from lambda_fn.events import NULL, Delta, End, Event, Failure, Finish, Start, Usage
from lambda_fn.transform import Buffer
from lambda_fn.transform.buffering import MAX_HELD
from lambda_fn.transform.cuts import CUTTERS

KINDS = list(CUTTERS)
# Texts of characters that are hard to cut: marks, joiners, flags, jamo, conjuncts, line ends, and
# the characters at which buffers cut.
HARD = (
    "a e\u0301 🏳️\u200d🌈 👩🏽\u200d🚀 🇩🇪 \u1100\u1161\u11a8 각 क्षि ษำ"
    ' \u0600 \u0d4e ガ 漢字。「は」！ \r\n\t . ? ! … ” ) " { } [ ] , : \\ 1 é'
)
texts = st.lists(
    st.one_of(st.sampled_from([*HARD, *HARD.split(" ")]), st.characters(codec="utf-8")), max_size=60
).map("".join)


def delta(text: str, index: int = 0, logprobs: msgspec.Raw = NULL) -> Delta:
    """Return a delta of text, as the decoder makes it."""
    return Delta(
        msgspec.Raw(json.dumps({"content": text}).encode()),
        index=index,
        tokens=1,
        logprobs=logprobs,
    )


def said(events: list[Event], index: int = 0) -> list[str]:
    """Return the texts of the deltas of a choice."""
    deltas = [event for event in events if isinstance(event, Delta) and event.index == index]
    return [msgspec.json.decode(event.delta).get("content", "") for event in deltas]


def pieces(kind: str, parts: list[str]) -> list[str]:
    """Return the pieces into which a buffer cuts a text that arrives in these parts."""
    buffer = Buffer(kind, 1)
    return said(
        [out for part in parts for out in buffer.feed([delta(part)])]
        + buffer.feed([Finish("stop"), End()])
    )


def parted(text: str, cuts: list[int]) -> list[str]:
    """Return the text, cut at these positions."""
    places = sorted({cut % (len(text) + 1) for cut in cuts} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("kind", KINDS)
@given(text=texts, cuts=st.lists(st.integers(0, 200), max_size=30))
@example(text="x\u0301 y", cuts=[1, 2, 3])
@example(text="a \u0301b", cuts=[1, 2, 3])
def test_nothing_is_lost_and_clusters_stay_whole(kind: str, text: str, cuts: list[int]) -> None:
    """The pieces add up to the text, and each ends where a grapheme cluster does."""
    found = pieces(kind, parted(text, cuts))
    assert "".join(found) == text
    boundaries = {0, *(match.end() for match in regex.finditer(r"\X", text))}
    place = 0
    for piece in found:
        place += len(piece)
        after_json = kind == "json" and text[place - 1] in "}],\n"  # no mark follows these in JSON
        assert place in boundaries or after_json, (text, found)


@pytest.mark.parametrize(
    ("kind", "parts", "expected"),
    [
        ("word", ["Hel", "lo", " wor", "ld, you", "!"], ["Hello", " world,", " you!"]),
        ("word", ["Hello", " world"], ["Hello", " world"]),
        ("word", ["一二", "三"], ["一", "二", "三"]),
        ("word", ["한국", "어 말"], ["한국어", " 말"]),
        ("sentence", ["It is 3.1", "4. Is", ' it? "Yes."', " So."], ["It is 3.14.", " Is it?", ' "Yes."', " So."]),
        ("sentence", ["好。是", "！"], ["好。", "是！"]),
        ("sentence", ["a\nb"], ["a\n", "b"]),
        ("line", ["one\ntw", "o\nth", "ree"], ["one\n", "two\n", "three"]),
        ("line", ["a\r", "\nb"], ["a\r\n", "b"]),
        ("json", ['{"a":', ' [1, 2], "b', '": "x,}\\"', ',"', ", 3"], ['{"a": [1, 2],', ' "b": "x,}\\",",', " 3"]),
        ("json", ["[{}", ", {", "}]"], ["[{},", " {}]"]),
        ("json", ['{"a":1}\n{"a"', ":2}\n"], ['{"a":1}', '\n{"a":2}\n']),
        ("json", ["Here", " it is: ", '{"a"', ":1}"], ["Her", "e it is:", ' {"a":1}']),
    ],
    ids=range(13),
)  # fmt: skip
def test_pieces_are_complete(kind: str, parts: list[str], expected: list[str]) -> None:
    """Each kind of buffer cuts at its boundaries, as soon as they are certain."""
    assert pieces(kind, parts) == expected


@pytest.mark.parametrize(
    ("kind", "parts"), [("word", ["Hi", " y"]), ("sentence", ["Hi.", " "]), ("line", ["Hi", "\n"])]
)
def test_first_piece_goes_when_it_is_whole(kind: str, parts: list[str]) -> None:
    """The first piece is released with the character that shows it to be complete."""
    buffer = Buffer(kind, 1)
    assert buffer.feed([Start(1), delta(parts[0])]) == [Start(1)]
    assert said(buffer.feed([delta(parts[1])]))[0].startswith("Hi")


def test_finish_and_failure_release_what_is_held() -> None:
    """Held text is released before the finish of its choice, and before a failure.

    Usage releases nothing.
    """
    buffer = Buffer("line", 2)
    assert buffer.feed([delta("a"), delta("b", 1)]) == []
    events = buffer.feed([Finish("stop", 1), Usage(1, 2), Failure("cut", "m")])
    assert [type(event) for event in events] == [Delta, Finish, Usage, Delta, Failure]
    assert (said(events, 1), said(events, 0)) == (["b"], ["a"])


def test_tool_calls_pass_at_once_and_in_order() -> None:
    """A delta that is not text is not held. It stays behind the text before it."""
    raw = msgspec.Raw(b'{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}')
    both = msgspec.Raw(b'{"content":"x","reasoning_content":"y"}')
    buffer = Buffer("sentence", 1)
    events = buffer.feed([delta("Wait"), Delta(raw), Delta(both)])
    assert said(events) == ["Wait", "", "x"]
    assert events[1:] == [Delta(raw), Delta(both)]


def test_logprobs_and_tokens_stay_with_the_text() -> None:
    """A token's log probability is released once, with the piece that begins the token."""
    entry: Any = {"token": "x", "logprob": -1.0, "bytes": None, "top_logprobs": []}
    raw = msgspec.Raw(json.dumps({"content": [entry], "refusal": None}).encode())
    buffer = Buffer("word", 1)
    events = buffer.feed(
        [delta("a", logprobs=raw), delta(" ", logprobs=raw), delta("b c", logprobs=raw)]
    )
    events += buffer.feed([Finish("stop")])
    counts = [
        (
            event.tokens,
            len(msgspec.json.decode(event.logprobs)["content"] if event.logprobs != NULL else []),
        )
        for event in events
        if isinstance(event, Delta)
    ]
    assert said(events) == ["a", " b", " c"]
    assert counts == [(1, 1), (2, 2), (0, 0)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", ["x", "\u0301", "é🏳️‍🌈", '{"', "["])
def test_text_without_a_boundary_is_not_held_for_ever(kind: str, text: str) -> None:
    """At most `MAX_HELD` characters are held, even of a text without a boundary."""
    buffer = Buffer(kind, 1)
    for _ in range(3 * MAX_HELD // len(text)):
        buffer.feed([delta(text)])
        assert len(buffer._held[0].text) <= MAX_HELD
