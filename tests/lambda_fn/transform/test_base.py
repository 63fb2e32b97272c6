"""A chain runs its transforms in order. With none or one it costs nothing."""

import json
from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.events import Delta, End, Event, Failure, Finish, Start
from lambda_fn.transform import Buffer, chain
from lambda_fn.transform.base import Chain
from lambda_fn.transform.cuts import CUTTERS


def delta(text: str) -> Delta:
    """Return a delta of text of one token."""
    return Delta(msgspec.Raw(json.dumps({"content": text}).encode()), tokens=1)


def text_of(events: Iterable[Event]) -> str:
    """Return the text of all deltas."""
    return "".join(
        msgspec.json.decode(event.delta)["content"] for event in events if isinstance(event, Delta)
    )


class Marks:
    """A transform that puts a mark around the text of each delta."""

    def __init__(self, mark: str) -> None:
        """Take the mark."""
        self._mark = mark

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Return each delta with the mark on both sides."""
        return [
            delta(f"{self._mark}{text_of([event])}{self._mark}")
            if isinstance(event, Delta)
            else event
            for event in events
        ]


def test_none_and_one_are_no_chain() -> None:
    """Transforms that are None are left out. A single one is returned as it is."""
    buffer = Buffer("word", 1)
    assert chain() is None
    assert chain(None, None) is None
    assert chain(None, buffer) is buffer
    assert isinstance(chain(buffer, Marks("*")), Chain)


def test_each_member_is_fed_with_what_the_one_before_it_returns() -> None:
    """The first transform is nearest to the model. The next one does not get what it holds back."""
    members = chain(Buffer("word", 1), Marks("*"), None, Marks("+"))
    assert members is not None
    assert members.feed([Start(3), delta("one")]) == [Start(3)]
    assert text_of(members.feed([delta(" two")])) == "+*one*+"
    events = members.feed([Finish("stop"), End()])
    assert text_of(events) == "+* two*+"
    assert [type(event) for event in events] == [Delta, Finish, End]


@given(
    kinds=st.lists(st.sampled_from(sorted(CUTTERS)), min_size=2, max_size=3),
    parts=st.lists(st.text(max_size=8), max_size=8),
    failed=st.booleans(),
)
def test_a_chain_of_buffers_loses_nothing_and_ends_last(
    kinds: list[str], parts: list[str], failed: bool
) -> None:
    """All text and every token is released before the end event, and nothing after it."""
    members = chain(*(Buffer(kind, 1) for kind in kinds))
    assert members is not None
    events = [event for part in parts for event in members.feed([delta(part)])]
    last: list[Event] = [Failure("cut", "message")] if failed else [Finish("stop"), End()]
    events += members.feed(last)
    assert text_of(events) == "".join(parts)
    assert sum(event.tokens for event in events if isinstance(event, Delta)) == len(parts)
    assert events[-len(last) :] == last
