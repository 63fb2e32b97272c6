"""Stage 6: events -> bytes, pure. The wire forms of an answer; none of them knows of sockets or time."""

from lambda_fn.encode.base import Encoder, Head
from lambda_fn.encode.chat_body import ChatBody
from lambda_fn.encode.chat_stream import ChatStream

__all__ = ["ChatBody", "ChatStream", "Encoder", "Head"]
