"""Seals the summary of a conversation, which is a compaction's only text.

The events that go out have the text sealed, in one piece before the choice's finish. So a log has
no other form of it, and whoever reads the log sends the same bytes. Reasoning is dropped.

A summary that is not whole is no summary: what it lacks would be lost without a word. So a
response that was cut, filtered, or empty fails.
"""

from collections.abc import Callable, Iterable

import msgspec

from lambda_fn.errors import (
    APIError,
    ContextLengthExceeded,
    InsufficientQuota,
    InvalidRequest,
    ResponseTooLarge,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from lambda_fn.events import Delta, Ended, Event, Finish

MAX_SUMMARY = 1_000_000
"""Characters of a summary. A longer one would fit into no request."""


class _Text(msgspec.Struct):
    content: str | None = None


_text = msgspec.json.Decoder(_Text)


class Seal:
    """Seals the text of one response, which has one choice."""

    def __init__(self, seal: Callable[[str], str]) -> None:
        """Begin with no text. `seal` returns a text sealed."""
        self._seal = seal
        self._texts: list[str] = []
        self._size = 0
        self._tokens = 0

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take these events, and return all but the pieces of the text.

        Raises:
            APIError: there is no whole summary.

        """
        out: list[Event] = []
        for event in events:
            if type(event) is Delta:
                self._take(event)
                continue
            if type(event) is Finish:
                out.append(self._sealed(event))
            out.append(event)
        return out

    def _take(self, event: Delta) -> None:
        self._tokens += event.tokens
        try:
            text = _text.decode(event.delta).content or ""
        except msgspec.DecodeError:
            raise UpstreamFailed("The model sent a malformed record.") from None
        self._size += len(text)
        if self._size > MAX_SUMMARY:
            raise ResponseTooLarge(f"The summary is over {MAX_SUMMARY} characters.")
        self._texts.append(text)

    def _sealed(self, finish: Finish) -> Delta:
        text = "".join(self._texts).strip()
        if finish.finish_reason == "length":
            raise _cut(finish.ended)
        if finish.finish_reason == "content_filter":
            raise InvalidRequest(
                "The summary was stopped by this deployment's filters.", code="content_filter"
            )
        if not text:
            raise UpstreamFailed("The model wrote no summary.")
        content = msgspec.json.encode({"content": self._seal(text)})
        return Delta(msgspec.Raw(content), tokens=self._tokens)


def _cut(ended: Ended | None) -> APIError:
    """Return the error for a summary that ended before the model had ended it."""
    if ended == "deadline":
        return UpstreamTimeout("The summary took too long. Send fewer items.")
    if ended == "budget":
        return InsufficientQuota("The key's budget ended before the summary was complete.")
    if ended == "meter":
        return Unavailable("The usage meter did not answer, so the summary was not completed.")
    return ContextLengthExceeded(
        "The summary was cut at the limit of tokens: of the model's context, or of an answer in this "
        "deployment. Send fewer items.",
        param="input",
    )
