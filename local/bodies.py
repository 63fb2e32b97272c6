"""Bodies of requests, read once and up to a limit."""

from aiohttp import web

# In bytes. The largest call of an AWS API has a function's code in it, a zip of 50 MB in base64.
LARGEST = 96 * 2**20
_WHOLE = web.RequestKey("whole", bytes)


def cached(request: web.Request) -> bytes | None:
    """Return the body if it was read already, or None."""
    return request.get(_WHOLE)


async def read(request: web.Request, max_bytes: int) -> bytes | None:
    """Return the whole body, or None if it is longer than `max_bytes` bytes.

    The first call reads the body and keeps it with the request for later calls.
    """
    if (request.content_length or 0) > max_bytes:
        return None  # the rest of a body that is too large is not read
    if _WHOLE not in request:
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > max_bytes:
                break
        request[_WHOLE] = bytes(body)
    whole: bytes = request[_WHOLE]
    return whole if len(whole) <= max_bytes else None
