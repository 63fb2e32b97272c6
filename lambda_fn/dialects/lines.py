"""The code that decoders share: the splitting into lines, and the rules for our container's lines.

A record of our container is a JSON object on one line. It has at most `MAX_LINE` bytes, is UTF-8,
contains no carriage return, and belongs to a choice that was requested. A record that breaks a rule
ends the response with `MALFORMED_RECORD`.
"""

from lambda_fn import limits
from lambda_fn.events import MALFORMED, Failure

MALFORMED_RECORD = Failure(code=MALFORMED, message="a record is malformed or too long")
_RETURN = ord("\r")  # a number is found in bytes six times as fast as bytes are
NO_FINISH = Failure(code="cut", message="a choice has no end")
NO_END = Failure(code="cut", message="the response has no end")


class LineBuffer:
    """Splits the bytes of one response into lines, in whichever pieces the bytes arrive.

    Time and memory are linear in the number of bytes, because bytes are only appended to an
    unfinished line.
    """

    def __init__(self) -> None:
        """Begin with no bytes."""
        self.rest = bytearray()
        """The start of a line that has no end yet."""
        self.too_long = False
        """Whether the next line is over `MAX_LINE` bytes. Nothing may be fed after it."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes, without their line feeds."""
        longest = len(self.rest) + len(data)
        lines = data.split(b"\n")
        data = lines.pop()
        if lines and self.rest:
            lines[0] = b"".join((self.rest, lines[0]))
            self.rest.clear()
        if data:
            self.rest += data
        if longest > limits.MAX_LINE:
            self._limit(lines)
        return lines

    def _limit(self, lines: list[bytes]) -> None:
        for number, line in enumerate(lines):
            if len(line) > limits.MAX_LINE:
                self.too_long = True
                del lines[number:]
                return
        self.too_long = len(self.rest) > limits.MAX_LINE


class Choices:
    """The choices that a response must have, and which of them are unfinished."""

    def __init__(self, count: int) -> None:
        """Expect `count` choices, with indexes from 0."""
        self.count = count
        self.unfinished = set(range(count))

    def check(self, index: int) -> None:
        """Raise ValueError if the choice was not requested."""
        if index >= self.count:
            raise ValueError("a choice that was not requested")


def is_one_line_of_text(data: bytes) -> bool:
    """Return whether `data` is UTF-8 without a carriage return.

    Only then may parts of a record be passed on unread. JSON allows a carriage return between two
    tokens, but in an event stream it ends a line.
    """
    if _RETURN in data:
        return False
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
