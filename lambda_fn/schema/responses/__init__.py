"""OpenAI's Responses API: its requests as types, and their translation into chat requests.

The first request of this API imports it, so the cold start of a chat does not pay for it. Unknown
members are ignored. A member of OpenAI's API that cannot be honoured is rejected by its name,
unless it would change no response.
"""

from lambda_fn.schema.responses.compact import CompactRequest, compacted, parse_compact
from lambda_fn.schema.responses.conversation import History, own_items
from lambda_fn.schema.responses.request import (
    InputTokensRequest,
    ResponsesRequest,
    parse_input_tokens,
    parse_responses,
)
from lambda_fn.schema.responses.restate import restate
from lambda_fn.schema.responses.translate import Asked, asked, unkept

__all__ = [
    "Asked",
    "CompactRequest",
    "History",
    "InputTokensRequest",
    "ResponsesRequest",
    "asked",
    "compacted",
    "own_items",
    "parse_compact",
    "parse_input_tokens",
    "parse_responses",
    "restate",
    "unkept",
]
