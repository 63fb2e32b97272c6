"""Bodies of requests, read once and up to a limit."""

from aiohttp import web

# More than any call of an AWS API has: a function's code as a zip in the call itself has 50 MB, in base64.
LARGEST = 96 * 2**20
_WHOLE = web.RequestKey("whole", bytes)


def known(request: web.Request) -> bytes | None:
    """Return the body if it was read already."""
    return request.get(_WHOLE)


async def read(request: web.Request, most: int) -> bytes | None:
    """Return the whole body, perhaps of an earlier reader; None if it has more than `most` bytes."""
    if _WHOLE not in request:
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > most:
                break
        request[_WHOLE] = bytes(body)
    found: bytes = request[_WHOLE]
    return found if len(found) <= most else None
