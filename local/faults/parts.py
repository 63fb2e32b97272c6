"""Part boundaries of an event stream where a fault wants them. Pure; `local.sagemaker.parts` cuts all other answers."""

from collections.abc import Iterator
from typing import Protocol

from local.faults.plan import Strike

# Of a fault that does not say how many records a part has.
_RECORDS = 4


class Cutting(Protocol):
    """Cuts one answer."""

    def cut(self, data: bytes) -> Iterator[bytes]:
        """The parts that are complete with these bytes; none is empty."""

    def rest(self) -> bytes:
        """What was held back, at the end."""


class OneByte:
    """One byte a part."""

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Each byte."""
        for at in range(len(data)):
            yield data[at : at + 1]

    def rest(self) -> bytes:
        """Nothing."""
        return b""


class Boundary:
    """Two parts: the first has so many bytes, the second is the rest, held back until the end."""

    def __init__(self, after: int) -> None:
        """At the start."""
        self._after = after
        self._held = bytearray()
        self._passed = False

    def cut(self, data: bytes) -> Iterator[bytes]:
        """The first part, once it is whole."""
        self._held += data
        if not self._passed and len(self._held) >= self._after:
            self._passed = True
            if self._after:
                yield bytes(self._held[: self._after])
            del self._held[: self._after]

    def rest(self) -> bytes:
        """The second part."""
        return bytes(self._held)


class Joined:
    """Several records a part."""

    def __init__(self, records: int) -> None:
        """At the start."""
        self._records = records
        self._held = bytearray()

    def cut(self, data: bytes) -> Iterator[bytes]:
        """All that is there, once it has enough line feeds."""
        self._held += data
        if self._held.count(b"\n") >= self._records:
            yield bytes(self._held)
            self._held.clear()

    def rest(self) -> bytes:
        """What has fewer."""
        return bytes(self._held)


def cutting(strike: Strike | None) -> Cutting | None:
    """How a fault wants an answer cut, None if it does not care."""
    match strike.kind if strike else "":
        case "one-byte-parts":
            return OneByte()
        case "boundary":
            return Boundary(strike.after + strike.number)  # type: ignore[union-attr] # its kind is known
        case "joined-parts":
            return Joined(strike.after or _RECORDS)  # type: ignore[union-attr] # its kind is known
    return None
