r"""Bare text, as it comes: what `Accept: text/plain` gets.

The text is followed by nothing where it is whole. Where it broke off, one more line says so, the trailer line:

    \n\x1e{"error":{"message":...,"type":...,"param":...,"code":...}}\n

Control characters other than line feed and tab are left out of the text, since bare text is what terminals are given.
So the trailer's first character, the record separator, never occurs in it, and no text can pass for a trailer. A
silence is broken with the character \x16, synchronous idle, which terminals do not show and which does not occur
either.
"""

from collections.abc import Iterable
from typing import ClassVar

from lambda_fn.encode.base import Head, read_delta
from lambda_fn.errors import APIError
from lambda_fn.events import Delta, End, Event

_CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")})
"""What is left out: a terminal would obey it. A model writes what a page or a file that it was given tells it to."""


class PlainText:
    """The answer of a chat completion as text."""

    content_type: ClassVar[str] = "text/plain; charset=utf-8"

    def __init__(self, head: Head) -> None:
        """Begin with no text. Nothing of the head has a place in it."""
        self._said = False

    def begin(self) -> bytes:
        """Give nothing."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Give the text; of an answer without any, a line end, since a streamed body cannot be empty."""
        texts = []
        for event in events:
            if type(event) is Delta:
                texts.append((read_delta(event).content or "").translate(_CONTROLS))
                self._said = self._said or bool(texts[-1])
            elif type(event) is End and not self._said:
                texts.append("\n")
        return "".join(texts).encode()

    def heartbeat(self) -> bytes:
        """Give a character that is not shown."""
        return b"\x16"

    def fail(self, error: APIError) -> bytes:
        """Give the trailer line."""
        return b"\n\x1e" + error.body() + b"\n"
