"""The public requests, as types; what does not fit them is refused with the path of the wrong field.

Unknown fields are tolerated, as OpenAI's clients send new ones before servers know them. What OpenAI has and a text
model cannot honour is refused by its name: nothing is ignored that would change the answer.
"""

from lambda_fn.schema.chat import ChatRequest, parse_chat, unsupported
from lambda_fn.schema.completion import CompletionRequest, parse_completion, prompt_of
from lambda_fn.schema.container import Control, container_body, plain_body
from lambda_fn.schema.parts import Buffering, StreamOptions

__all__ = [
    "Buffering",
    "ChatRequest",
    "CompletionRequest",
    "Control",
    "StreamOptions",
    "container_body",
    "parse_chat",
    "parse_completion",
    "plain_body",
    "prompt_of",
    "unsupported",
]
