"""Bodies of requests, read once and up to a limit."""

from aiohttp import web

# More than any call of an AWS API has: a function's code as a zip in the call itself has 50 MB, in base64.
LARGEST = 96 * 2**20


async def read(request: web.Request, most: int) -> bytes | None:
    """Return the whole body, perhaps of an earlier reader; None if it has more than `most` bytes."""
    if "body" not in request:
        body = bytearray()
        async for piece in request.content.iter_any():
            body += piece
            if len(body) > most:
                break
        request["body"] = bytes(body)
    found: bytes = request["body"]
    return found if len(found) <= most else None
