"""Ends a choice where it says what rules forbid: a list of words or a pattern of a category.

The text up to the match goes out, and the match never does. The choice finishes with
`content_filter` there, and the response ends when all of its choices have finished.
"""

from collections.abc import Iterable, Mapping

import msgspec

from lambda_fn.events import Delta, End, Event, Failure, Finish
from lambda_fn.patterns.known import machine_of
from lambda_fn.patterns.machine import Machine
from lambda_fn.patterns.scanner import Scanner
from lambda_fn.transform.redaction import Redact

_CUT = "\ufdd0"
"""Marks a match until the text is cut there. It is not a character of Unicode."""
_members = msgspec.json.Decoder(dict[str, object])
_json = msgspec.json.Encoder().encode


class Screen:
    """Moderates one response. `flagged` gets the categories that are found."""

    def __init__(
        self,
        choices: int,
        machine: Machine,
        *,
        json: bool = False,
        flagged: set[str] | None = None,
        blocks: bool = True,
    ) -> None:
        """Begin. `json` tells whether the content is JSON. Without `blocks`, every event passes as
        it is, at once.
        """
        self.flagged: set[str] = set() if flagged is None else flagged
        self._blocks = blocks
        self._found = False
        self._redact = Redact(choices, machine, self._flag, json=json)
        self._unfinished = set(range(choices))
        self._blocked: set[int] = set()

    def _flag(self, kind: str, text: str) -> str:
        self.flagged.add(kind)
        self._found = True
        return _CUT

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take these events, and return those that may go out now.

        An `End` that was not taken ends the response: all choices have finished.
        """
        out: list[Event] = []
        if not self._blocks:
            out += events
            self._redact.feed(out)
            return out
        for event in events:
            if type(event) in (Delta, Finish) and event.index in self._blocked:  # type: ignore[union-attr]
                continue
            self._found = False
            passed = self._redact.feed((event,))
            if not self._found:
                if type(event) is Finish:
                    self._unfinished.discard(event.index)
                out += passed
                continue
            self._cut(passed, out)
            if not self._unfinished and type(event) is not End and type(event) is not Failure:
                out.append(End())
                break
        return out

    def _cut(self, events: list[Event], out: list[Event]) -> None:
        """Return events up to the match in each choice, which finishes there."""
        for event in events:
            if type(event) in (Delta, Finish) and event.index in self._blocked:  # type: ignore[union-attr]
                continue
            if type(event) is not Delta or _CUT.encode() not in bytes(event.delta):
                out.append(event)
                continue
            fields = _before_cut(_members.decode(event.delta))
            if fields:
                delta = msgspec.Raw(_json(fields))
                out.append(msgspec.structs.replace(event, delta=delta))
            out.append(Finish("content_filter", event.index))
            self._blocked.add(event.index)
            self._unfinished.discard(event.index)


def _before_cut(fields: dict[str, object]) -> dict[str, object]:
    """Return the members of a delta up to the match."""
    kept: dict[str, object] = {}
    for name, value in fields.items():
        if isinstance(value, str):
            text, found, _ = value.partition(_CUT)
            if text:
                kept[name] = text
        else:
            # The pieces of calls: a call that is cut would not be whole.
            found = _CUT if _CUT.encode() in _json(value) else ""
            if not found:
                kept[name] = value
        if found:
            break
    return kept


def rules_of(patterns: Mapping[str, str], words: Mapping[str, tuple[str, ...]]) -> Machine:
    """Return the machine of rules: patterns and words by category."""
    return machine_of(frozenset(), tuple(patterns.items()), tuple(words.items()))


def flagged_in(machine: Machine, texts: Iterable[str]) -> set[str]:
    """Return the categories that are found in whole texts, such as those of a prompt."""
    found: set[str] = set()

    def flag(kind: str, text: str) -> str:
        found.add(kind)
        return ""

    for text in texts:
        scanner = Scanner(machine, flag)
        scanner.feed(text)
        scanner.close()
    return found
