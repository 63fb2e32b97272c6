"""Decides which fault strikes which request. Pure.

A fault has a kind, which fixes where it strikes (an endpoint's responses, a table's calls, a
function's invocations, the events that wait for it), a scope (a pattern of names), a seed, and a
bound: a count, a probability or both. It counts the requests in its scope. Its decision about the
n-th request depends only on its seed, its bound and n. Other faults and the clock do not change it.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, Literal

Target = Literal["endpoint", "table", "function", "event", "route", "socket"]

# Kind: the place where it strikes, and what happens. `after`, `seconds` and `status` are members of
# the fault.
KINDS: dict[str, tuple[Target, str]] = {
    "one-byte-parts": ("endpoint", "every part of the event stream has one byte"),
    "boundary": (
        "endpoint",
        "two parts, the first of `after` bytes, one byte more at each strike",
    ),
    "joined-parts": ("endpoint", "a part is held back until it has `after` line feeds (4)"),
    "container-killed": ("endpoint", "SIGKILL after `after` bytes of the answer"),
    "container-stalled": ("endpoint", "silence of `seconds` after `after` bytes, then the rest"),
    "container-reset": ("endpoint", "the container's connection is lost after `after` bytes"),
    "container-error": ("endpoint", "the container answers with `status` and an HTML page"),
    "container-garbage": ("endpoint", "2,000 random bytes after `after` bytes, then the rest"),
    "container-endless-line": (
        "endpoint",
        "16 MB without a line feed after `after` bytes, then the end",
    ),
    "stream-cut": ("endpoint", "the caller's connection is lost after `after` bytes"),
    "stream-left": (
        "endpoint",
        "as stream-cut, but the container's answer is read to its end and dropped",
    ),
    "table-throttled": ("table", "ProvisionedThroughputExceededException"),
    "table-slow": ("table", "the call is passed on after `seconds`"),
    "table-down": ("table", "InternalServerError"),
    "table-unreachable": ("table", "the connection is closed and the call is not made"),
    "table-answer-lost": (
        "table",
        "the call is made, and the connection is closed without a response",
    ),
    "caller-killed-before": (
        "table",
        "SIGKILL of the function `seconds` after its call came; the call is not made",
    ),
    "caller-killed-after": (
        "table",
        "the call is made, then SIGKILL of the function before it gets the response",
    ),
    "function-killed-at-start": (
        "function",
        "SIGKILL `seconds` after it got the invocation, unless it has answered",
    ),
    "function-killed-at-response": (
        "function",
        "SIGKILL when its response begins; nothing of it is passed on",
    ),
    "function-killed-in-response": ("function", "SIGKILL after `after` bytes of its response"),
    "function-killed-at-settlement": (
        "function",
        "SIGKILL when its response is whole, before it asks for more",
    ),
    "function-error-hidden": (
        "function",
        "an error after its response has begun ends the response as if it were whole",
    ),
    "event-lost": ("event", "an asynchronous invocation is accepted, and never made"),
    "event-repeated": ("event", "an asynchronous invocation is made twice"),
    "event-late": ("event", "an asynchronous invocation is made `seconds` later"),
    "message-dropped": ("route", "the function of a WebSocket route is not invoked"),
    "message-late": ("route", "the function of a WebSocket route is invoked after `seconds`"),
    "message-repeated": ("route", "the function of a WebSocket route is invoked twice"),
    "message-swapped": (
        "route",
        "the function of a WebSocket route is invoked after the connection's next event",
    ),
    "socket-gone": (
        "socket",
        "a WebSocket connection is lost at the post after `after` others, which gets 410",
    ),
}


class FaultError(ValueError):
    """The description of a fault is invalid; the message names the field."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault: what goes wrong, where, and how often.

    `scope` and `operation` are patterns with `*` and `?`. `operation` is a table's API call, such
    as PutItem. `containing` is a text in the JSON of such a call, or in an endpoint's request; it
    tells apart the uses of an operation, and a request from its cancellation. `after` is a number
    of bytes or line feeds. With `after_most`, each strike draws a number from `after` to
    `after_most`.
    """

    kind: str
    scope: str = "*"
    operation: str = "*"
    containing: str | None = None
    count: int | None = None
    probability: float = 1.0
    seed: int = 0
    after: int = 0
    after_most: int | None = None
    seconds: float = 1.0
    status: int = 500


_BOUNDS: dict[str, tuple[type, float, float]] = {
    "count": (int, 1, 1_000_000_000),
    "probability": (float, 0, 1),
    "seed": (int, -math.inf, math.inf),
    "after": (int, 0, 1_000_000_000),
    "after_most": (int, 0, 1_000_000_000),
    "seconds": (float, 0, 3600),
    "status": (int, 400, 599),
}


def _unknown(kind: str) -> str:
    close = get_close_matches(kind, KINDS, n=1)
    hint = f"Did you mean {close[0]}?" if close else f"The kinds are: {', '.join(KINDS)}."
    return f"There is no kind of fault {kind[:64]!r}. {hint}"


def parse(description: object) -> Fault:
    """Return the fault that JSON describes.

    A fault without a count and a probability strikes once.

    Raises FaultError.
    """
    if not isinstance(description, Mapping):
        raise FaultError("a fault must be a JSON object")
    members = {name: value for name, value in description.items() if value is not None}
    for name, value in members.items():
        _check(str(name), value)
    if members.get("kind") not in KINDS:
        raise FaultError(_unknown(str(members.get("kind"))))
    if members.get("after_most", math.inf) < members.get("after", 0):
        raise FaultError("after_most: must not be under after")
    if "count" not in members and "probability" not in members:
        members["count"] = 1
    return Fault(**members)


def _check(name: str, value: object) -> None:
    if name not in {field.name for field in fields(Fault)}:
        raise FaultError(f"{name}: there is no such field")
    if name not in _BOUNDS:
        if not isinstance(value, str) or not value:
            raise FaultError(f"{name}: must be a text")
        return
    kind, minimum, maximum = _BOUNDS[name]
    right = isinstance(value, int | float if kind is float else int) and not isinstance(value, bool)
    if not right or not minimum <= value <= maximum:  # type: ignore[operator] # it is a number
        raise FaultError(
            f"{name}: must be {'a number' if kind is float else 'a whole number'}, {minimum} "
            f"to {maximum}"
        )


@dataclass
class Entry:
    """A fault that is set, with its counts.

    `seen` are requests in scope, `struck` are strikes, `landed` are strikes that took effect.
    """

    id: str
    fault: Fault
    seen: int = 0
    struck: int = 0
    landed: int = 0

    def decide(self) -> "Strike | None":
        """Count the next request in scope; return its strike, or None."""
        chance = random.Random(f"{self.fault.seed}/{self.seen}")  # noqa: S311 - reproducible, not secret
        self.seen += 1
        spent = self.fault.count is not None and self.struck >= self.fault.count
        if spent or chance.random() >= self.fault.probability:
            return None
        self.struck += 1
        maximum = self.fault.after_most
        after = self.fault.after if maximum is None else chance.randint(self.fault.after, maximum)
        return Strike(self, self.fault, self.struck - 1, after, chance)


@dataclass(frozen=True)
class Strike:
    """One strike of a fault on one request; `number` counts the fault's strikes from 0.

    The fault's seed and the number of the request seed `chance`.
    """

    entry: Entry
    fault: Fault
    number: int
    after: int
    chance: random.Random

    @property
    def kind(self) -> str:
        """The fault's kind."""
        return self.fault.kind

    def landed(self) -> None:
        """Count a strike that took effect. A response may end before its fault is due."""
        self.entry.landed += 1


class Plan:
    """The faults that are set, in the order in which they were set."""

    def __init__(self) -> None:
        """No fault is set."""
        self._entries: dict[str, Entry] = {}
        self._next = 1

    def set(self, fault: Fault) -> Entry:
        """Add a fault; return its entry."""
        entry = Entry(f"f{self._next}", fault)
        self._next += 1
        self._entries[entry.id] = entry
        return entry

    def clear(self, entry_id: str | None = None) -> bool:
        """Remove one fault, or all; return whether there was one."""
        if entry_id is not None:
            return self._entries.pop(entry_id, None) is not None
        had_entries = bool(self._entries)
        self._entries.clear()
        return had_entries

    def listing(self) -> list[dict[str, Any]]:
        """Return all faults with their counts, as JSON."""
        return [
            {
                **asdict(entry.fault),
                "id": entry.id,
                "seen": entry.seen,
                "struck": entry.struck,
                "landed": entry.landed,
            }
            for entry in self._entries.values()
        ]

    def watches(self, target: Target) -> bool:
        """Return whether any fault may strike there."""
        return any(KINDS[entry.fault.kind][0] == target for entry in self._entries.values())

    def strike(
        self, target: Target, name: str, operation: str = "", text: str = ""
    ) -> Strike | None:
        """Return the strike on a request, or None.

        Each fault in scope decides about the request, and the first one that strikes wins. `text`
        is the text in which `containing` is searched.
        """
        decided = [
            entry.decide()
            for entry in self._entries.values()
            if KINDS[entry.fault.kind][0] == target
            and fnmatchcase(name, entry.fault.scope)
            and fnmatchcase(operation, entry.fault.operation)
            and (entry.fault.containing is None or entry.fault.containing in text)
        ]
        return next((strike for strike in decided if strike is not None), None)
