"""What a request may have in size: all of it is known before anything of it is parsed. Pure."""

from lambda_fn.errors import InvalidRequest
from schema_guard import more_values

BODY = 64_000
"""Bytes of a body. The largest that is no replay, a hundred keys to reconcile, has under 50,000."""

REPLAY_BODY = 1_000_000
"""Bytes of a replay. A settlement's line has some 500."""

VALUES = 4_000
"""Commas, brackets and braces of a body; a hundred keys have 1,700, a thousand lines 1,000. Each unknown field is an
error of its own to pydantic.
"""

QUERY = 8_192
"""Bytes of a query string: CloudFront takes no longer URL."""

PATH = 1_024
"""Characters of a path, of which more than enough is none of ours."""


def check_query(query: bytes) -> None:
    """Raise InvalidRequest if a query string is too long."""
    if len(query) > QUERY:
        raise InvalidRequest(f"The query string is over {QUERY} bytes.", code="query_too_long")


def check_values(body: bytes) -> None:
    """Raise InvalidRequest if a body has too many values, one within another or side by side."""
    if more_values(body, VALUES):
        raise InvalidRequest(f"The body has more than {VALUES} values.", code="array_above_max_length")
