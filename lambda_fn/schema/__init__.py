"""The public requests as types.

A request that does not match is rejected with the path of the wrong field.

Unknown parameters are ignored, because OpenAI's clients send new ones before servers know them. A
known parameter of OpenAI's or of a server that cannot be honoured is rejected by its name, so that
nothing is ignored that would change the response.
"""

from lambda_fn.schema.chat import ChatRequest, parse_chat, unsupported
from lambda_fn.schema.completion import CompletionRequest, parse_completion, prompt_of
from lambda_fn.schema.container import Control, container_body, plain_body
from lambda_fn.schema.parts import Buffering, Rules, StreamOptions

__all__ = [
    "Buffering",
    "ChatRequest",
    "CompletionRequest",
    "Control",
    "Rules",
    "StreamOptions",
    "container_body",
    "parse_chat",
    "parse_completion",
    "plain_body",
    "prompt_of",
    "unsupported",
]
