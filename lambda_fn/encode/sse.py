"""What the server-sent forms share: padding against traffic analysis.

Encryption hides what a chunk says, not how long it is, and the lengths of tokens give much of a text away. So each
chunk has a field `obfuscation` that fills its delta up to a multiple of `BLOCK` bytes. All there is to do for a chunk
is to choose one of `BLOCK` endings that are put together once a response. The padding comes from the response's id,
so that a stream that is resumed in another process has the same bytes.
"""

from base64 import urlsafe_b64encode
from hashlib import sha256

from lambda_fn.encode.base import Head

BLOCK = 32
"""A chunk of one token of up to 18 bytes has one size then. OpenAI's own chunks are filled up to 8 characters."""


def tails(head: Head) -> list[bytes]:
    """Return `BLOCK` ends of a chunk, from behind the last choice; the one to take is that of `-size % BLOCK`."""
    usage = b',"usage":null' if head.include_usage else b""
    if not head.obfuscate:
        return [b"]" + usage + b"}\n\n"] * BLOCK
    padding = urlsafe_b64encode(sha256(head.answer_id.encode()).digest())
    unpadded = b"]" + usage + b',"obfuscation":"'
    padded, start = unpadded + padding, len(unpadded)
    return [padded[: start + size] + b'"}\n\n' for size in range(BLOCK)]


def delta_tails(tails: list[bytes]) -> list[bytes]:
    """Return the same from behind the delta of a choice that goes on and has no log probabilities."""
    return [b',"logprobs":null,"finish_reason":null}' + tail for tail in tails]
