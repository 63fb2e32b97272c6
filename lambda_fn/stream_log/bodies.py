"""Bodies of a response that do not fit its head: deflated, and split into items.

A body is written once, before the head that names it.
"""

import zlib
from collections.abc import Mapping

from lambda_fn.aws.dynamodb import Table
from lambda_fn.stream_log.keys import MAX_PART, VERSIONED, body_key, body_range

MAX_BODY = 64_000_000
"""The maximum size in bytes of an inflated body."""


class Incomplete(ValueError):
    """An item that was put before the one that names it is missing or malformed."""


def deflated(data: bytes) -> list[bytes]:
    """Return a text deflated, in parts of at most `MAX_PART` bytes."""
    packed = zlib.compress(data, 6)
    return [packed[at : at + MAX_PART] for at in range(0, len(packed), MAX_PART)]


def inflated(packed: bytes, max_bytes: int = MAX_BODY) -> bytes:
    """Return a text from all of its deflated parts together. Raises Incomplete."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, max_bytes)
    except zlib.error:
        raise Incomplete("a deflated text is malformed") from None
    if not inflater.eof:
        raise Incomplete("a deflated text is cut, or is too large")
    return data


async def write_body(
    table: Table, response_id: str, name: str, data: bytes, *, expires: int
) -> int:
    """Write a body, and return the number of its parts. It may be repeated.

    Raises:
        MeterUnavailable: it is not known what was written.

    """
    parts = deflated(data)
    for number, part in enumerate(parts):
        key = body_key(response_id, name, number)
        await table.put({**key, **VERSIONED, "body": part, "expires": expires})
    return len(parts)


async def read_body(
    table: Table, response_id: str, name: str, bodies: Mapping[str, int]
) -> bytes | None:
    """Return a body, or None if the response has none of this name.

    `bodies` is that of the head.

    Raises:
        Incomplete: a part is missing.
        MeterUnavailable: DynamoDB did not answer.

    """
    count = bodies.get(name)
    if count is None:
        return None
    query = body_range(response_id, name)
    parts = [item["body"] async for item in table.query_all(query, consistent=True)]
    if len(parts) != count:
        raise Incomplete(f"a body has {len(parts)} of {count} parts")
    return inflated(b"".join(parts))
