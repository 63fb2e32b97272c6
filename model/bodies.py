"""Bodies of requests, read whole: each has a limited size and time, and all together a size."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from model.errors import (
    BodySizeError,
    EncodingError,
    OverloadedError,
    RequestCancelledError,
    RequestTimeoutError,
)
from model.schema import MAX_BODY_BYTES

if TYPE_CHECKING:
    from starlette.requests import Request

MAX_READING_BYTES = 256 * 1024 * 1024
"""Bytes of all bodies that are not complete, without `SMALL_BYTES` of each: 42 of the largest."""
SMALL_BYTES = 64 * 1024
"""The size of a body that large ones do not keep out. All small ones have as many bytes in all."""


class BodyReader:
    """Reads the bodies of one container."""

    def __init__(self, seconds: float) -> None:
        """A body that takes more than `seconds` is refused."""
        self._seconds = seconds
        self._large = self._small = 0

    async def read(self, request: Request) -> bytes:
        """Return the whole body.

        Raises:
            EncodingError: it has a content-encoding.
            BodySizeError: it is larger than `MAX_BODY_BYTES`. It is not read beyond that.
            RequestTimeoutError: it came too slowly.
            OverloadedError: too much is being read for others.
            RequestCancelledError: the caller went away.

        """
        encoding = request.headers.get("content-encoding", "")
        if encoding.strip().lower() not in ("", "identity"):
            raise EncodingError(
                f"the content-encoding {encoding[:40]!r} is not supported: send the body without "
                "one"
            )
        if int(request.headers.get("content-length", 0)) > MAX_BODY_BYTES:
            raise _size()
        body = bytearray()
        try:
            async with asyncio.timeout(self._seconds):
                while await self._part(request, body):
                    pass
        except TimeoutError:
            raise RequestTimeoutError(
                f"the body did not come within {self._seconds:g} s, but {len(body)} bytes of it"
            ) from None
        finally:
            small = min(len(body), SMALL_BYTES)
            self._small -= small
            self._large -= len(body) - small
        return bytes(body)

    async def _part(self, request: Request, body: bytearray) -> bool:
        """Append what came of a body; return whether there is more. Raises as `read`."""
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise RequestCancelledError("the caller went away")
        part = message.get("body", b"")
        if len(body) + len(part) > MAX_BODY_BYTES:
            raise _size()
        small = min(len(part), max(0, SMALL_BYTES - len(body)))
        large = len(part) - small
        if (small and self._small + small > MAX_READING_BYTES) or (
            large and self._large + large > MAX_READING_BYTES
        ):
            raise OverloadedError("too many bodies are being read; try again shortly")
        body += part  # in one buffer: small parts of their own would each take some 40 bytes
        self._small += small
        self._large += large
        return bool(message.get("more_body", False))


def _size() -> BodySizeError:
    return BodySizeError(f"the body is larger than {MAX_BODY_BYTES} bytes")
