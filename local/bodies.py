"""Bodies of requests, read once and up to a limit."""

from aiohttp import web

# In bytes, more than the largest call of an AWS API: function code in the call itself is a zip of
# 50 MB in base64.
LARGEST = 96 * 2**20
_WHOLE = web.RequestKey("whole", bytes)


def known(request: web.Request) -> bytes | None:
    """Return the body if it was read already, or None."""
    return request.get(_WHOLE)


async def read(request: web.Request, most: int) -> bytes | None:
    """Return the whole body, or None if it is longer than `most` bytes.

    The first call reads the body and keeps it with the request for later calls.
    """
    if _WHOLE not in request:
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > most:
                break
        request[_WHOLE] = bytes(body)
    found: bytes = request[_WHOLE]
    return found if len(found) <= most else None
