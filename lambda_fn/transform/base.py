"""The protocol of a transform, and the chain that runs several of them as one."""

from collections.abc import Iterable
from typing import Protocol

from lambda_fn.events import Event


class Transform(Protocol):
    """Changes the events of one response, and keeps the state that this needs between two calls.

    A transform is pure: it reads no clock and does no input or output. If it cannot read something
    that it must not pass on unread, it raises an APIError, which ends the response. It raises
    nothing else. The events of one choice stay in order. A transform returns everything that it
    holds of a choice before the choice's `Finish`. It returns everything that it still holds before
    an `End` or a `Failure`, which stays the last event. So no further call is needed to empty it.
    """

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take these events, and return those that may go out now."""
        ...


class Chain:
    """Several transforms in a row. Each gets the events that the one before it returns."""

    def __init__(self, members: Iterable[Transform]) -> None:
        """Take the members. The first one is nearest to the model."""
        self._members = tuple(members)

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Return the events that the last member returns."""
        passed = list(events)
        for member in self._members:
            passed = member.feed(passed)
        return passed


def chain(*members: Transform | None) -> Transform | None:
    """Return one transform for all members that are not None, or None if there are none.

    A single member is returned as it is, which saves a call for each batch of events.
    """
    present = [member for member in members if member is not None]
    if len(present) > 1:
        return Chain(present)
    return present[0] if present else None
