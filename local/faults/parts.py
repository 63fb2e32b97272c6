"""Cuts an event stream into parts, as a fault says. Pure.

`local.sagemaker.parts` cuts all other responses.
"""

from collections.abc import Iterator
from typing import Protocol

from local.faults.plan import Strike

# Line feeds in a part, for a fault that does not set their number.
_RECORDS = 4


class Cutting(Protocol):
    """Cuts one response into parts."""

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield the parts that these bytes complete; none is empty."""

    def rest(self) -> bytes:
        """Return the bytes that were held back, at the end."""


class OneByte:
    """Makes each byte a part."""

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield each byte."""
        for at in range(len(data)):
            yield data[at : at + 1]

    def rest(self) -> bytes:
        """Return no bytes."""
        return b""


class Boundary:
    """Makes two parts: a number of bytes, and the rest, which is held back until the end."""

    def __init__(self, after: int) -> None:
        """`after` is the number of bytes in the first part."""
        self._after = after
        self._held = bytearray()
        self._passed = False

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield the first part, once it is complete."""
        self._held += data
        if not self._passed and len(self._held) >= self._after:
            self._passed = True
            if self._after:
                yield bytes(self._held[: self._after])
            del self._held[: self._after]

    def rest(self) -> bytes:
        """Return the second part."""
        return bytes(self._held)


class Joined:
    """Puts several records into a part."""

    def __init__(self, records: int) -> None:
        """`records` is the number of line feeds in a part."""
        self._records = records
        self._held = bytearray()

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield all held bytes, once they have enough line feeds."""
        self._held += data
        if self._held.count(b"\n") >= self._records:
            yield bytes(self._held)
            self._held.clear()

    def rest(self) -> bytes:
        """Return the held bytes, which have fewer line feeds."""
        return bytes(self._held)


def cutting(strike: Strike | None) -> Cutting | None:
    """Return the way in which a fault cuts a response, or None if it does not cut."""
    match strike.kind if strike else "":
        case "one-byte-parts":
            return OneByte()
        case "boundary":
            return Boundary(strike.after + strike.number)  # type: ignore[union-attr] # its kind is known
        case "joined-parts":
            return Joined(strike.after or _RECORDS)  # type: ignore[union-attr] # its kind is known
    return None
