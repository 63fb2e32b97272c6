"""Stage 6: events -> bytes, pure. The wire formats of a response."""

from lambda_fn.encode.base import Encoder, Head
from lambda_fn.encode.chat_body import ChatBody
from lambda_fn.encode.chat_stream import ChatStream
from lambda_fn.encode.completions import CompletionBody, CompletionStream
from lambda_fn.encode.plain_text import PlainText

__all__ = ["ChatBody", "ChatStream", "CompletionBody", "CompletionStream", "Encoder", "Head", "PlainText"]
