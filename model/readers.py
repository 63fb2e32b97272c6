"""Readers of environment variables.

Each one describes what it accepts, for errors and for the documentation.
"""

from __future__ import annotations

import ipaddress
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader: `read` raises ValueError for a text that is not what `takes` says."""

    takes: str
    read: Callable[[str], Any]

    def __call__(self, text: str) -> Any:
        """Return the value.

        Raises ValueError whose text says what is needed.
        """
        try:
            return self.read(text)
        except ValueError:
            raise ValueError(f"{self.takes} is needed") from None


def _check(value: Any, fits: bool) -> Any:
    if not fits:
        raise ValueError
    return value


def whole(low: int, high: int) -> Reader:
    """Return a reader of whole numbers from `low` to `high`, in decimal digits."""

    def read(text: str) -> int:
        return int(_check(text, text.isascii() and text.isdigit() and low <= int(text) <= high))

    return Reader(f"a whole number from {low} to {high}", read)


def number(low: float, high: float) -> Reader:
    """Return a reader of numbers from `low` to `high`, neither NaN nor infinite."""

    def read(text: str) -> float:
        value = float(text)
        return float(_check(value, math.isfinite(value) and low <= value <= high))

    return Reader(f"a number from {low:g} to {high:g}", read)


def one_of(names: Iterable[str]) -> Reader:
    """Return a reader that accepts one of the names."""
    known = tuple(names)
    return Reader(f"one of {', '.join(known)}", lambda text: _check(text, text in known))


def name(longest: int = 256) -> Reader:
    """Return a reader of printable texts of 1 to `longest` characters."""
    return Reader(
        f"1 to {longest} printable characters",
        lambda text: _check(text, 0 < len(text) <= longest and text.isprintable()),
    )


def _adapters(text: str) -> dict[str, str]:
    pairs = [entry.strip().partition("=") for entry in text.split(",")]
    found = {key: value for key, _, value in pairs}
    return dict(
        _check(found, all(key and value for key, _, value in pairs) and len(found) == len(pairs))
    )


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    return dict(_check(value, isinstance(value, dict)))


switch = Reader("true or false", lambda text: _check(text, text in ("true", "false")) == "true")
folder = Reader("a folder", lambda text: Path(_check(text, bool(text))))
file = Reader("the path of a file", lambda text: Path(_check(text, bool(text))))
address = Reader("an IP address", lambda text: str(ipaddress.ip_address(text)))
adapters = Reader("NAME=FOLDER, several with commas, each name once", _adapters)
json_object = Reader("a JSON object", _object)
sha256 = Reader(
    "a SHA-256 in 64 hexadecimal digits",
    lambda text: _check(text.lower(), re.fullmatch(r"[0-9A-Fa-f]{64}", text) is not None),
)
repository = Reader(
    "OWNER/NAME of a Hugging Face repository",
    lambda text: _check(
        text, re.fullmatch(r"[A-Za-z0-9._-]{1,96}/[A-Za-z0-9._-]{1,96}", text) is not None
    ),
)
