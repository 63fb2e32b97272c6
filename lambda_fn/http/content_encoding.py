"""Decodes a request's body as its `Content-Encoding` says, within a bound. Pure.

gzip and deflate are of Python's standard library. Its zstd and brotli are missing or too new to
depend on, so those are rejected by name.
"""

import zlib

from lambda_fn.errors import InvalidRequest, UnsupportedEncoding

ACCEPTED = "gzip, deflate, identity"
_GZIP = 16 + zlib.MAX_WBITS
_MAX_CODINGS = 3
_MAX_MEMBERS = 64  # of one gzip file; each costs a copy of what follows it


class TooLarge(Exception):
    """The decoded body is over the bound."""


def decoded(body: bytes, header: str, max_bytes: int) -> bytes:
    """Return the body without the codings that a header lists, the last of which is the outermost.

    No more than `max_bytes` and one byte are ever decoded.

    Raises:
        UnsupportedEncoding: a coding is not supported, or there are too many.
        InvalidRequest: the body is not what the header says.
        TooLarge: the decoded body has more than `max_bytes`.

    """
    codings = [name for part in header.lower().split(",") if (name := part.strip(" \t"))]
    codings = [name for name in codings if name != "identity"]
    for name in codings:
        if name not in ("gzip", "x-gzip", "deflate"):
            raise UnsupportedEncoding(
                f"The content-encoding '{name[:40]}' is not supported: send the body as gzip or "
                "deflate, or without a content-encoding.",
                headers={"accept-encoding": ACCEPTED},
            )
    if len(codings) > _MAX_CODINGS:
        raise UnsupportedEncoding(
            f"The body has more than {_MAX_CODINGS} content-encodings: send it with one.",
            headers={"accept-encoding": ACCEPTED},
        )
    for name in reversed(codings):
        try:
            body = _unpacked(body, name, max_bytes)
        except zlib.error:
            raise _broken(name, "it is not in this format, or it is damaged") from None
    return body


def _unpacked(body: bytes, name: str, max_bytes: int) -> bytes:
    if not body:
        raise _broken(name, "it is empty")
    out = bytearray()
    window = _GZIP if name != "deflate" else zlib.MAX_WBITS if _has_head(body) else -zlib.MAX_WBITS
    for _ in range(_MAX_MEMBERS):
        member = zlib.decompressobj(window)
        out += member.decompress(body, max_bytes + 1 - len(out))
        if len(out) > max_bytes:
            raise TooLarge
        if not member.eof:
            raise _broken(name, "its end is missing")
        # A gzip file may have several members, and zeros behind them.
        body = member.unused_data
        if not body.strip(b"\0"):
            return bytes(out)
        if name == "deflate":
            raise _broken(name, "other bytes follow its end")
    raise _broken(name, f"it has more than {_MAX_MEMBERS} members")


def _has_head(body: bytes) -> bool:
    """Return whether a deflate stream has zlib's head, which some clients leave out."""
    return body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0


def _broken(name: str, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The body cannot be decoded by its content-encoding '{name}': {why}.",
        code="invalid_encoding",
    )
