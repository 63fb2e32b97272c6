"""Finds markers of sources in the content, such as `[1]` or `【doc-2】`, and adds annotations.

No text is held: it goes out, and an annotation follows the text that ends its marker. Offsets count
characters of the content as it goes out, so this transform comes after all that change text. A
marker that names no source of the request is plain text. A marker that names several sources, such
as `[1, 2]`, makes an annotation for each.

An annotation is a delta with the member `annotations`, and so an event of the log. Each encoder
writes it as its clients expect.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

import msgspec

from lambda_fn.events import Delta, Event

_MARKER = re.compile(r"[\[【]([^\[\]【】\n]{1,256})[\]】]")
_OPEN = re.compile(r"[\[【][^\[\]【】\n]{0,256}\Z")


class Source(Protocol):
    """A source that can be cited: what markers call it, its address and its title."""

    @property
    def id(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def title(self) -> str: ...


class _Text(msgspec.Struct):
    content: str | None = None


_text = msgspec.json.Decoder(_Text)
_json = msgspec.json.Encoder().encode


class _Choice:
    """The content of one choice: its length, and its end from an open bracket on."""

    __slots__ = ("length", "open")

    def __init__(self) -> None:
        self.length = 0
        self.open = ""


class Cite:
    """Annotates one response."""

    def __init__(self, choices: int, sources: Sequence[Source]) -> None:
        """Begin with empty contents. A number that is not an id means a source by its position."""
        self._sources = sources
        self._named = {str(number): number - 1 for number in range(1, len(sources) + 1)}
        self._named |= {source.id: place for place, source in enumerate(sources)}
        self._choices = [_Choice() for _ in range(choices)]

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take these events, and return them with the annotations of markers that end in them."""
        out: list[Event] = []
        for event in events:
            out.append(event)
            if type(event) is Delta:
                self._read(event, out)
        return out

    def _read(self, event: Delta, out: list[Event]) -> None:
        try:
            content = _text.decode(event.delta).content
        except msgspec.DecodeError:
            return  # the encoder says that it is malformed
        if not content:
            return
        choice = self._choices[event.index]
        begin = choice.length - len(choice.open)
        text = choice.open + content
        choice.length += len(content)
        found = [
            {
                "start": begin + marker.start(),
                "end": begin + marker.end(),
                "source": place,
                "url": self._sources[place].url,
                "title": self._sources[place].title,
            }
            for marker in _MARKER.finditer(text)
            for place in self._places(marker[1])
        ]
        opened = _OPEN.search(text)
        choice.open = "" if opened is None else opened[0]
        if found:
            out.append(Delta(msgspec.Raw(_json({"annotations": found})), event.index))

    def _places(self, marker: str) -> list[int]:
        """Return the places of the sources that a marker names."""
        names = (part.partition("†")[0].strip() for part in marker.split(","))
        return [place for name in names if (place := self._named.get(name)) is not None]
