"""Anthropic's Messages API: its requests as types, and their translation into chat requests.

The first request of this kind imports it, so the cold start of a chat does not pay for it. Unknown
members are ignored, and so are those that only Anthropic's own service can honour and that change
no answer: `cache_control`, `metadata`, `service_tier`, `container`, `context_management` and
others. Content blocks and tools that are not known are rejected by their type.
"""

from lambda_fn.schema.anthropic.request import (
    CountRequest,
    MessagesRequest,
    parse_count,
    parse_messages,
)
from lambda_fn.schema.anthropic.translate import Asked, asked

__all__ = ["Asked", "CountRequest", "MessagesRequest", "asked", "parse_count", "parse_messages"]
