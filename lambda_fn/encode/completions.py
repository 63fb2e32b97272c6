"""OpenAI's older endpoint: `text_completion` objects, streamed or not."""

from collections.abc import Iterable
from typing import Any, ClassVar

import msgspec

from lambda_fn.encode.base import (
    PADDING_BLOCK,
    Head,
    SizeLimit,
    chunk_tails,
    ended_fields,
    read_delta,
    read_logprobs,
    usage_of,
)
from lambda_fn.errors import APIError
from lambda_fn.events import NULL, Delta, End, Ended, Event, Finish, Usage

_json = msgspec.json.encode
_FILL = PADDING_BLOCK - 1


class CompletionStream:
    """A streamed completion."""

    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    def __init__(self, head: Head) -> None:
        """Prepare the parts that all chunks share."""
        self._include_usage = head.include_usage
        self._echo = head.echo
        self._head = b"data: " + _json(_fields(head))[:-1] + b',"choices":['
        self._tails = chunk_tails(head)
        self._choices = [_Text() for _ in range(head.choices)]

    def begin(self) -> bytes:
        """Return the prompt for every choice, if the request asked for it."""
        if not self._echo:
            return b""
        return b"".join(self._chunk(index, self._echo) for index in range(len(self._choices)))

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return one chunk for each event, and `[DONE]` for the end."""
        out: list[bytes] = []
        for event in events:
            if type(event) is Delta:
                text, logprobs = self._choices[event.index].read(event)
                if text or logprobs:
                    out.append(self._chunk(event.index, text, logprobs=logprobs))
            elif type(event) is Finish:
                reason, ended = event.finish_reason, event.ended
                out.append(self._chunk(event.index, "", reason=reason, ended=ended))
            elif type(event) is Usage and self._include_usage:
                out += (self._head, b'],"usage":', _json(usage_of(event)), b"}\n\n")
            elif type(event) is End:
                out.append(b"data: [DONE]\n\n")
        return b"".join(out)

    def _chunk(
        self,
        index: int,
        text: str,
        *,
        logprobs: Any = None,
        reason: str | None = None,
        ended: Ended | None = None,
    ) -> bytes:
        choice = _json(
            {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}
        )
        tail = self._tails[-len(choice) & _FILL]
        if ended is not None:
            tail = b"]," + _json(ended_fields(ended))[1:-1] + tail[1:]
        return self._head + choice + tail

    def heartbeat(self) -> bytes:
        """Return a chunk without text."""
        return self._chunk(0, "")

    def fail(self, error: APIError) -> bytes:
        """Return the error object as an event."""
        return b"data: " + error.body() + b"\n\n"


class CompletionBody:
    """A completion that is not streamed."""

    content_type: ClassVar[str] = "application/json"

    def __init__(self, head: Head) -> None:
        """Begin with the prompt to repeat, if there is one."""
        self._head = head
        self._choices = [_Text() for _ in range(head.choices)]
        self._texts = [[head.echo] for _ in range(head.choices)]
        self._logprobs: list[dict[str, bytearray]] = [{} for _ in range(head.choices)]
        self._size_limit = SizeLimit(head.max_bytes)
        self._reasons: list[str | None] = [None] * head.choices
        self._ended: Ended | None = None
        self._usage: Usage | None = None

    def begin(self) -> bytes:
        """Return nothing yet."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Collect the events, and return the object at the end. Raises ResponseTooLarge."""
        for event in events:
            if type(event) is Delta:
                self._size_limit.add(event)
                text, logprobs = self._choices[event.index].read(event)
                self._texts[event.index].append(text)
                if logprobs is not None:
                    self._hold(event.index, logprobs)
            elif type(event) is Finish:
                self._reasons[event.index] = event.finish_reason
                self._ended = self._ended or event.ended
            elif type(event) is Usage:
                self._usage = event
            elif type(event) is End:
                body = {
                    **_fields(self._head),
                    "choices": [self._choice(index) for index in range(len(self._choices))],
                }
                if self._usage is not None:
                    body["usage"] = usage_of(self._usage)
                return _json(body | ended_fields(self._ended))
        return b""

    def _hold(self, index: int, logprobs: dict[str, list[Any]]) -> None:
        """Keep log probabilities as JSON, which takes a fraction of the memory of objects."""
        for name, entries in logprobs.items():
            held = self._logprobs[index].setdefault(name, bytearray())
            if held and entries:
                held += b","
            held += _json(entries)[1:-1]

    def _choice(self, index: int) -> dict[str, Any]:
        held = self._logprobs[index]
        logprobs = {
            name: msgspec.Raw(b"[%b]" % bytes(entries)) for name, entries in held.items()
        } or None
        text = "".join(self._texts[index])
        return {
            "text": text,
            "index": index,
            "logprobs": logprobs,
            "finish_reason": self._reasons[index],
        }

    def heartbeat(self) -> bytes:
        """Return a space."""
        return b" "

    def fail(self, error: APIError) -> None:
        """Return None: clients take a JSON value with the status 200 for a success."""


class _Text:
    """One choice, and the offset in its text at which the next token begins."""

    def __init__(self) -> None:
        self._offset = 0

    def read(self, event: Delta) -> tuple[str, dict[str, Any] | None]:
        text = read_delta(event).content or ""
        if event.logprobs is NULL:
            return text, None
        offsets = []
        entries = read_logprobs(event)
        for entry in entries:
            offsets.append(self._offset)
            self._offset += len(entry.token)
        return text, {
            "tokens": [entry.token for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [
                {top.token: top.logprob for top in entry.top_logprobs} for entry in entries
            ],
            "text_offset": offsets,
        }


def _fields(head: Head) -> dict[str, Any]:
    return {
        "id": f"cmpl-{head.response_id}",
        "object": "text_completion",
        "created": head.created,
        "model": head.model,
        "system_fingerprint": head.fingerprint,
    }
