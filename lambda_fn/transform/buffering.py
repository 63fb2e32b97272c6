"""Holds text back until a piece of it is whole; finish, usage and everything that is no text pass as they come.

No more than `MOST` characters are held, and none once a choice has finished or the answer has failed: what was held
goes out before that is said.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from lambda_fn.events import NULL, Delta, Event, Failure, Finish
from lambda_fn.transform.cuts import CUTTERS, Cutter, begins_cluster

MOST = 4096
"""Characters of one choice: a text without white space is no words, and must not grow in memory."""


class _Text(msgspec.Struct, forbid_unknown_fields=True):
    content: str


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


_text = msgspec.json.Decoder(_Text)
_logprobs = msgspec.json.Decoder(_Logprobs)


@dataclass
class _Held:
    """What is held of one choice: its text; and of its pieces the places, tokens and log probabilities."""

    cutter: Cutter
    text: str = ""
    pieces: list[tuple[int, int, list[msgspec.Raw] | None]] = field(default_factory=list)


class Buffer:
    """One answer's buffer."""

    def __init__(self, kind: str, choices: int) -> None:
        """Begin with nothing held; `kind` is one of `CUTTERS`."""
        self._held = [_Held(CUTTERS[kind]()) for _ in range(choices)]

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take events, give those that may go out."""
        out: list[Event] = []
        for event in events:
            if type(event) is Delta:
                self._take(event, out)
                continue
            if type(event) is Finish:
                self._let_go(event.index, len(self._held[event.index].text), out)
            elif type(event) is Failure:
                for index, held in enumerate(self._held):
                    self._let_go(index, len(held.text), out)
            out.append(event)
        return out

    def _take(self, event: Delta, out: list[Event]) -> None:
        held = self._held[event.index]
        try:
            said = _text.decode(event.delta).content
            entries = None if event.logprobs is NULL else _logprobs.decode(event.logprobs).content or []
        except msgspec.DecodeError:  # a tool call, or more than text: not to be held, nor what came before it
            self._let_go(event.index, len(held.text), out)
            out.append(event)
            return
        held.pieces.append((len(held.text), event.tokens, entries))
        held.text += said
        if not said:
            return
        place = held.cutter.cut(held.text, len(said))
        if place == 0 and len(held.text) > MOST:
            place = _somewhere(held.text)
        if place:
            self._let_go(event.index, place, out)

    def _let_go(self, index: int, place: int, out: list[Event]) -> None:
        held = self._held[index]
        going = [piece for piece in held.pieces if piece[0] < place or place == len(held.text)]
        held.pieces = [(start - place, tokens, entries) for start, tokens, entries in held.pieces[len(going) :]]
        said, held.text = held.text[:place], held.text[place:]
        held.cutter.sent(place)
        if not said and not going:
            return
        found = [entries for _, _, entries in going if entries is not None]
        logprobs = NULL
        if found:
            together = {"content": [entry for entries in found for entry in entries], "refusal": None}
            logprobs = msgspec.Raw(msgspec.json.encode(together))
        delta = msgspec.Raw(msgspec.json.encode({"content": said}))
        out.append(Delta(delta, index=index, tokens=sum(tokens for _, tokens, _ in going), logprobs=logprobs))


def _somewhere(text: str) -> int:
    """Give the last place where a text may be cut at all; its end if there is none."""
    for place in range(len(text) - 1, 0, -1):
        if begins_cluster(text, place):
            return place
    return len(text)
