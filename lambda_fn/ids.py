"""Request ids: sortable by time, so that the ledger needs no index to find a request or an hour."""

import secrets
import time
from zlib import crc32

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
LEDGER_SHARDS = 8
"""Partitions of one hour of the ledger. Each takes 1,000 writes a second; a request makes two."""


def new_request_id(now: float | None = None) -> str:
    """Give a new id: 26 characters, 48 bits of Unix time in milliseconds, then 80 random bits (the ULID layout, lower
    case).
    """
    milliseconds = int((time.time() if now is None else now) * 1000)
    number = (milliseconds << 80) | secrets.randbits(80)
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -5, -5))


def request_time(request_id: str) -> float:
    """Give the Unix time, in seconds, at which an id was made.

    Raises:
        ValueError: not a request id.

    """
    if len(request_id) != 26:
        raise ValueError("a request id has 26 characters")
    milliseconds = 0
    for character in request_id[:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(character)
    return milliseconds / 1000


def ledger_partition(request_id: str) -> str:
    """Give the ledger's partition key of a request: its UTC hour and one of `LEDGER_SHARDS` shards."""
    hour = time.strftime("%Y-%m-%dT%H", time.gmtime(request_time(request_id)))
    return f"LEDGER#{hour}#{crc32(request_id.encode()) % LEDGER_SHARDS}"
