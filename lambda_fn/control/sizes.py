"""The size limits of a request, which are checked before anything is parsed. Pure."""

from lambda_fn.errors import InvalidRequest
from schema_guard import more_values

BODY = 64_000
"""The maximum number of bytes of a body, except for a replay.

The largest body, a hundred keys to reconcile, has under 50,000.
"""

REPLAY_BODY = 1_000_000
"""The maximum number of bytes of a replay. The line of a settlement has some 500."""

VALUES = 4_000
"""The maximum number of commas, opening brackets and opening braces of a body, outside strings.

A hundred keys to reconcile have 1,700, and a thousand lines to replay have 1,000. The limit bounds
the errors too, because Pydantic makes one for each unknown field.
"""

QUERY = 8_192
"""The maximum number of bytes of a query string: CloudFront accepts no longer URL."""

PATH = 1_024
"""The maximum number of characters of a path; the API's paths are much shorter."""


def check_query(query: bytes) -> None:
    """Raise InvalidRequest if a query string is too long."""
    if len(query) > QUERY:
        raise InvalidRequest(f"The query string is over {QUERY} bytes.", code="query_too_long")


def check_values(body: bytes) -> None:
    """Raise InvalidRequest if a body has too many values, nested or not."""
    if more_values(body, VALUES):
        raise InvalidRequest(
            f"The body has more than {VALUES} values.", code="array_above_max_length"
        )
