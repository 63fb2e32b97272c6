"""Identifiers: request ids, which sort by time, and API keys, which have a public part.

A key is `sk-`, 12 lower-case base-32 characters, `-`, and 43 URL-safe base-64 characters. The 12
characters are the key's id: it names the account, and may be shown and logged. The 43 characters
contain 256 random bits.
"""

import base64
import hashlib
import os
import re
import secrets
import time
from functools import lru_cache
from zlib import crc32

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32
_TO_CROCKFORD = bytes.maketrans(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", _ALPHABET.encode())
_KEY_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # RFC 4648's, which people can read aloud
_KEY = re.compile(r"sk-([a-z2-7]{12})-[A-Za-z0-9_-]{43}")
_SECRET = re.compile(r"(sk-[a-z2-7]{12}-)[A-Za-z0-9_-]+")
LEDGER_SHARDS = 8
"""Partitions of one hour of the ledger. Each takes 1,000 writes a second; a request makes two."""


def new_key(key_id: str | None = None) -> str:
    """Return a new key. With `key_id` it is another secret for the same account."""
    return f"sk-{key_id or new_key_id()}-{secrets.token_urlsafe(32)}"


def new_key_id() -> str:
    """Return a new key id of 60 random bits."""
    return "".join(secrets.choice(_KEY_ALPHABET) for _ in range(12))


def key_id_of(key: str) -> str | None:
    """Return the id within a key, or None if the text does not have the form of a key."""
    match = _KEY.fullmatch(key)
    return match and match.group(1)


def masked(text: str) -> str:
    """Return the text with the secret part of every key removed."""
    return _SECRET.sub(r"\1…", text)


def hash_key(key: str) -> str:
    """Return the hex SHA-256 of a key. A slow hash would add nothing to a key's 256 random bits."""
    return hashlib.sha256(key.encode()).hexdigest()


def shard_of(name: str) -> int:
    """Return the shard of a name: a number below `LEDGER_SHARDS`."""
    return crc32(name.encode()) % LEDGER_SHARDS


def new_request_id(now: float | None = None, unique: bytes | None = None) -> str:
    """Return a new request id of 26 characters: a ULID in lower case.

    It has 48 bits of Unix time in milliseconds, then 80 random bits. `now` is in seconds. The
    random bits are the first ones of `unique`, if it is given: 10 bytes or more.
    """
    milliseconds = int((time.time() if now is None else now) * 1000)
    number = (milliseconds << 80) | int.from_bytes((unique or os.urandom(10))[:10], "big")
    # The 26 characters encode 130 bits: two zero bits and the number. The shift makes it 160 bits,
    # which base 32 encodes without padding.
    return (
        base64.b32encode((number << 30).to_bytes(20, "big"))[:26].translate(_TO_CROCKFORD).decode()
    )


def is_request_id(text: str) -> bool:
    """Return whether a text is a request id."""
    try:
        request_time(text)
    except ValueError:
        return False
    return text.isascii() and text.isalnum()


@lru_cache(maxsize=256)  # one request calls it about eight times
def request_time(request_id: str) -> float:
    """Return the Unix time, in seconds, at which a request id was made.

    Raises:
        ValueError: the text is not a request id.

    """
    if len(request_id) != 26:
        raise ValueError("a request id has 26 characters")
    milliseconds = 0
    for character in request_id[:10]:
        milliseconds = milliseconds * 32 + _ALPHABET.index(character)
    return milliseconds / 1000
