"""What the server-sent forms share: padding against traffic analysis.

Encryption hides what a chunk says, not how long it is, and the lengths of tokens give much of a text away. So each
chunk has a field `obfuscation` that fills its delta up to a multiple of `BLOCK` bytes. All there is to do for a chunk
is to choose one of `BLOCK` endings that are put together once.
"""

import secrets
from functools import cache

BLOCK = 32
"""A chunk of one token of up to 18 bytes has one size then. OpenAI's own chunks are filled up to 8 characters."""

_PADDING = secrets.token_urlsafe(BLOCK).encode()


@cache
def tails(include_usage: bool, obfuscate: bool) -> list[bytes]:
    """Give `BLOCK` ends of a chunk, from behind the last choice; the one to take is that of `-size % BLOCK`."""
    usage = b',"usage":null' if include_usage else b""
    if not obfuscate:
        return [b"]" + usage + b"}\n\n"] * BLOCK
    return [b"]" + usage + b',"obfuscation":"' + _PADDING[:size] + b'"}\n\n' for size in range(BLOCK)]


@cache
def delta_tails(include_usage: bool, obfuscate: bool) -> list[bytes]:
    """Give the same from behind the delta of a choice that goes on and has no log probabilities."""
    return [b',"logprobs":null,"finish_reason":null}' + tail for tail in tails(include_usage, obfuscate)]
