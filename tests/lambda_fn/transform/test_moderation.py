"""A choice ends where it says what rules forbid, wherever that is cut."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.events import Delta, End, Event, Failure, Finish, Usage
from lambda_fn.transform.moderation import Screen, flagged_in, rules_of

RULES = rules_of({"order": "ORD-[0-9]{3}"}, {"violence": ("bad word", "worse")})
ENDING: list[Event] = [Finish("stop"), Usage(1, 9), End()]


def delta(fields: dict[str, Any], index: int = 0) -> Delta:
    """Return a delta."""
    return Delta(msgspec.Raw(json.dumps(fields).encode()), index, 1)


def contents(text: str, cuts: list[int]) -> list[Event]:
    """Return the deltas of a content in pieces."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [delta({"content": text[a:b]}) for a, b in pairwise(places)]


def run(screen: Screen, events: list[Event]) -> list[Event]:
    """Return what goes out, up to the first end."""
    out: list[Event] = []
    for event in events:
        out += screen.feed([event])
        if out and isinstance(out[-1], End | Failure):
            return out
    return out


def said(events: list[Event], index: int = 0) -> str:
    """Return the content of a choice."""
    deltas = [it for it in events if isinstance(it, Delta) and it.index == index]
    return "".join(msgspec.json.decode(it.delta).get("content", "") for it in deltas)


@pytest.mark.parametrize(
    ("text", "shown", "category"),
    [
        ("So a bad word, and more", "So a ", "violence"),
        ("ORD-123 worse", "", "order"),
        ("it is WORSE", "it is ", "violence"),
        ("it is worsening", "it is worsening", None),
    ],
)
def test_a_choice_ends_before_the_match(text: str, shown: str, category: str | None) -> None:
    """Cut at each place, the same text goes out, and nothing behind it."""
    for cut in range(len(text) + 1):
        screen = Screen(1, RULES)
        out = run(screen, contents(text, [cut]) + ENDING)
        assert said(out) == shown
        finishes = [it.finish_reason for it in out if isinstance(it, Finish)]
        assert finishes == ["stop" if category is None else "content_filter"]
        assert isinstance(out[-1], End)
        assert screen.flagged == (set() if category is None else {category})


@given(
    st.lists(st.sampled_from(["bad ", "word", "worse", "ORD-1", "23", " ", "so"]), max_size=8),
    st.lists(st.integers(0, 40), max_size=5),
)
def test_what_goes_out_is_the_same_however_it_is_cut(parts: list[str], cuts: list[int]) -> None:
    """Pieces end where the whole does, and nothing forbidden goes out."""
    text = "".join(parts)
    out = run(Screen(1, RULES), contents(text, cuts) + ENDING)
    assert said(out) == said(run(Screen(1, RULES), contents(text, []) + ENDING))
    assert not flagged_in(RULES, [said(out)])


def test_one_of_several_choices() -> None:
    """The other choices go on, and the response ends when all have finished."""
    screen = Screen(2, RULES)
    events: list[Event] = [
        delta({"content": "fine "}, 1),
        delta({"content": "worse, "}, 0),
        delta({"content": "more"}, 0),
        Finish("stop", 0),
        delta({"content": "and well"}, 1),
        Finish("stop", 1),
        Usage(1, 9),
        End(),
    ]
    out = run(screen, events)
    assert (said(out, 0), said(out, 1)) == ("", "fine and well")
    finishes = [(it.index, it.finish_reason) for it in out if isinstance(it, Finish)]
    assert finishes == [(0, "content_filter"), (1, "stop")]
    assert out[-2:] == [Usage(1, 9), End()]


@pytest.mark.parametrize("name", ["reasoning_content", "refusal"])
def test_other_texts(name: str) -> None:
    """Reasoning and refusals are moderated as well, and so are the arguments of calls."""
    out = run(Screen(1, RULES), [delta({name: "so wor"}), delta({name: "se."})])
    assert b"wor" not in msgspec.json.encode(out)
    assert out[-2:] == [Finish("content_filter"), End()]
    call = {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":"bad \\u0077ord"}'}}]}
    out = run(Screen(1, RULES), [delta(call)])
    assert out == [Finish("content_filter"), End()]


def test_a_match_at_the_end() -> None:
    """What is decided by the end of a text blocks it, too."""
    out = run(Screen(1, RULES), [*contents("so worse", [3]), *ENDING])
    assert said(out) == "so "
    assert [it.finish_reason for it in out if isinstance(it, Finish)] == ["content_filter"]
    failed = run(Screen(1, RULES), [*contents("so worse", [3]), Failure("crashed", "x")])
    assert said(failed) == "so "
    assert isinstance(failed[-1], Failure)


def test_prompts() -> None:
    """Whole texts have the categories of all their matches."""
    assert flagged_in(RULES, ["a bad word", "ORD-123"]) == {"violence", "order"}
    assert flagged_in(RULES, ["a bad", "word"]) == set()
