"""Holds text back until a piece of it is complete. Everything else passes through at once.

At most `MAX_HELD` characters of a choice are held. They go out before the choice's finish and
before a failure.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from lambda_fn.events import NULL, Delta, Event, Failure, Finish
from lambda_fn.transform.cuts import CUTTERS, Cutter, begins_cluster

ANNOTATIONS = b'{"annotations":'
"""The beginning of a delta with annotations, which `citations` makes."""
MAX_HELD = 4096
"""Maximum number of characters that are held of one choice.

Without this limit, a text without white space, which has no words, could fill the memory.
"""


class _Text(msgspec.Struct, forbid_unknown_fields=True):
    content: str


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


_text = msgspec.json.Decoder(_Text)
_logprobs = msgspec.json.Decoder(_Logprobs)


@dataclass
class _Held:
    """The held text of one choice.

    A piece is a delta in it: its offset in the text, its number of tokens and its log
    probabilities.
    """

    cutter: Cutter
    text: str = ""
    pieces: list[tuple[int, int, list[msgspec.Raw] | None]] = field(default_factory=list)
    annotations: list[tuple[int, Delta]] = field(default_factory=list)
    """Annotations, each with the offset of the text after which it goes out."""


class Buffer:
    """Buffers the text of one response."""

    def __init__(self, kind: str, choices: int) -> None:
        """Begin with nothing held. `kind` is one of `CUTTERS`."""
        self._held = [_Held(CUTTERS[kind]()) for _ in range(choices)]

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take these events, and return those that may go out now."""
        out: list[Event] = []
        for event in events:
            if type(event) is Delta:
                self._hold(event, out)
                continue
            if type(event) is Finish:
                self._release(event.index, len(self._held[event.index].text), out)
            elif type(event) is Failure:
                for index, held in enumerate(self._held):
                    self._release(index, len(held.text), out)
            out.append(event)
        return out

    def _hold(self, event: Delta, out: list[Event]) -> None:
        held = self._held[event.index]
        if held.text and bytes(event.delta).startswith(ANNOTATIONS):
            held.annotations.append((len(held.text), event))
            return
        try:
            text = _text.decode(event.delta).content
            entries = (
                None if event.logprobs is NULL else _logprobs.decode(event.logprobs).content or []
            )
        except msgspec.DecodeError:
            # A tool call, or more than text: it goes out now, after the text that was held.
            self._release(event.index, len(held.text), out)
            out.append(event)
            return
        held.pieces.append((len(held.text), event.tokens, entries))
        held.text += text
        if not text:
            return
        place = held.cutter.cut(held.text, len(text))
        if place == 0 and len(held.text) > MAX_HELD:
            place = _last_boundary(held.text)
        if place:
            self._release(event.index, place, out)

    def _release(self, index: int, place: int, out: list[Event]) -> None:
        held = self._held[index]
        released = [piece for piece in held.pieces if piece[0] < place or place == len(held.text)]
        held.pieces = [
            (start - place, tokens, entries)
            for start, tokens, entries in held.pieces[len(released) :]
        ]
        text, held.text = held.text[:place], held.text[place:]
        held.cutter.sent(place)
        annotations = [event for end, event in held.annotations if end <= place]
        held.annotations = [(end - place, it) for end, it in held.annotations if end > place]
        if text or released:
            out.append(_joined(index, text, released))
        out += annotations


def _joined(
    index: int, text: str, released: list[tuple[int, int, list[msgspec.Raw] | None]]
) -> Delta:
    """Return one delta of a text and the pieces that it came in."""
    logprobs_held = [entries for _, _, entries in released if entries is not None]
    logprobs = NULL
    if logprobs_held:
        joined = {
            "content": [entry for entries in logprobs_held for entry in entries],
            "refusal": None,
        }
        logprobs = msgspec.Raw(msgspec.json.encode(joined))
    delta = msgspec.Raw(msgspec.json.encode({"content": text}))
    return Delta(delta, index, sum(tokens for _, tokens, _ in released), logprobs)


def _last_boundary(text: str) -> int:
    """Return the last place between two grapheme clusters, or the text's end if there is none."""
    for place in range(len(text) - 1, 0, -1):
        if begins_cluster(text, place):
            return place
    return len(text)
