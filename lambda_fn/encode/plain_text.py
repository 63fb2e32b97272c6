r"""Plain text without JSON: the response to `Accept: text/plain`.

Nothing follows the text of a complete response. If the response broke off, or this service ended it
before the model did, one more line follows, the trailer:

    \n\x1e{"error":{"message":...,"type":...,"param":...,"code":...}}\n
    \n\x1e{"finish_reason":"length","sluice":{"ended":"deadline"}}\n

Control characters other than line feed and tab are removed from the text, because people show it in
terminals. So the trailer's first character, the record separator, never occurs in the text, and no
text can be mistaken for a trailer. The heartbeat is the character \x16, synchronous idle. Terminals
do not show it, and it never occurs in the text.
"""

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from lambda_fn.encode.base import Head, ended_fields, read_delta
from lambda_fn.errors import APIError
from lambda_fn.events import Delta, End, Event, Finish

_CONTROLS = dict.fromkeys({*range(0x20), *range(0x7F, 0xA0)} - {ord("\n"), ord("\t")})
"""Characters to remove. A terminal would obey them, and a page within a prompt may make the model
write them.
"""


class PlainText:
    """A chat completion as text."""

    content_type: ClassVar[str] = "text/plain; charset=utf-8"

    def __init__(self, head: Head) -> None:
        """Begin with no text. The head is not used, because text has no place for it."""
        self._has_text = False
        self._trailer = ""

    def begin(self) -> bytes:
        """Return nothing."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return the text of the events.

        A response without any text ends in a line feed, because a streamed body cannot be empty.
        """
        texts = []
        for event in events:
            if type(event) is Delta:
                texts.append((read_delta(event).content or "").translate(_CONTROLS))
                self._has_text = self._has_text or bool(texts[-1])
            elif type(event) is Finish and event.ended is not None:
                fields = {"finish_reason": event.finish_reason, **ended_fields(event.ended)}
                self._trailer = f"\n\x1e{msgspec.json.encode(fields).decode()}\n"
            elif type(event) is End:
                texts.append(self._trailer or ("" if self._has_text else "\n"))
        return "".join(texts).encode()

    def heartbeat(self) -> bytes:
        """Return a character that terminals do not show."""
        return b"\x16"

    def fail(self, error: APIError) -> bytes:
        """Return the trailer."""
        return b"\n\x1e" + error.body() + b"\n"
