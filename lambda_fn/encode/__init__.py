"""Stage 6: events -> bytes, pure. The wire formats of a response."""

from collections.abc import Callable

from lambda_fn.encode.base import VERSION, Encoder, Form, Head
from lambda_fn.encode.chat_body import ChatBody
from lambda_fn.encode.chat_stream import ChatStream
from lambda_fn.encode.completions import CompletionBody, CompletionStream
from lambda_fn.encode.plain_text import PlainText

_ENCODERS: dict[Form, Callable[[Head], Encoder]] = {
    "chat_stream": ChatStream,
    "chat_body": ChatBody,
    "completion_stream": CompletionStream,
    "completion_body": CompletionBody,
    "plain_text": PlainText,
}


def encoder_of(head: Head, after: int | None = None) -> Encoder:
    """Return a new encoder of the form that the head names.

    `after` is the wire number of the last piece that a resumed client has (`encode.numbered`). The
    encoder gets all events from the first one on, and leaves out what the client has. A response of
    one JSON value is sent whole.

    Raises:
        LookupError: the head's version is unknown here.

    """
    if head.version != VERSION:
        raise LookupError(f"encoders of version {head.version} are unknown here")
    encoder = _encoder_of(head)
    if head.numbered is not True:
        return encoder
    from lambda_fn.encode.numbered import numbered  # not at a cold start

    return numbered(encoder, head.form, after)


def _encoder_of(head: Head) -> Encoder:
    if head.form in ("messages_stream", "messages_body"):
        from lambda_fn.encode.messages import MessageBody, MessageStream  # not at a cold start

        return MessageStream(head) if head.form == "messages_stream" else MessageBody(head)
    if head.form in ("responses_stream", "responses_body"):
        from lambda_fn.encode.responses import ResponseBody, ResponseStream  # not at a cold start

        return ResponseStream(head) if head.form == "responses_stream" else ResponseBody(head)
    if head.form == "compaction_body":
        from lambda_fn.encode.compaction import CompactionBody  # not at a cold start

        return CompactionBody(head)
    return _ENCODERS[head.form](head)


__all__ = [
    "ChatBody",
    "ChatStream",
    "CompletionBody",
    "CompletionStream",
    "Encoder",
    "Head",
    "PlainText",
    "encoder_of",
]
