"""`chat.completion.chunk` objects as server-sent events.

There are `data:` lines only, because stock clients fail on `event:`, `id:` or `retry:`. The parts
that all chunks share are prepared once. The delta of the model's container is passed on as
unchanged JSON, but for reasoning, which gets its second name. Annotations of a choice come in one
chunk before its finish, as OpenAI sends them: Node's client keeps the last chunk's only.
"""

from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any, ClassVar

import msgspec

from lambda_fn.encode.base import (
    ANNOTATIONS,
    PADDING_BLOCK,
    Annotation,
    Head,
    chunk_tails,
    delta_tails,
    ended_fields,
    moderation_of,
    named,
    raw_logprobs,
    read_delta,
    usage_of,
)
from lambda_fn.errors import APIError
from lambda_fn.events import NULL, Delta, End, Event, Finish, Usage

_json = msgspec.json.encode
_SHORT = -len('{"reasoning_content":""}')  # so most tokens are not searched for reasoning
_NUMBERED = b'%b%b%b,"sluice":{"n":%d}}\n\n'
_without_end = itemgetter(slice(-len("}\n\n")))
_FILL = PADDING_BLOCK - 1  # `-size & _FILL` is `-size % PADDING_BLOCK`


class ChatStream:
    """A streamed chat completion."""

    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    def __init__(self, head: Head) -> None:
        """Prepare the parts that all chunks share.

        With `include_usage`, a usage chunk ends the stream. Every other chunk has `"usage": null`.
        """
        self._include_usage = head.include_usage
        fields = {
            "id": f"chatcmpl-{head.response_id}",
            "object": "chat.completion.chunk",
            "created": head.created,
            "model": head.model,
            "system_fingerprint": head.fingerprint,
        }
        if head.service_tier is not None:
            fields["service_tier"] = head.service_tier
        self._head = b"data: " + _json(fields)[:-1] + b',"choices":['
        self._tails = chunk_tails(head)
        self._delta_tails = delta_tails(self._tails)
        self._bare_tails: list[bytes] = []
        """The tails of deltas without the chunk's end, once `number` needs them."""
        self._annotations: dict[int, list[Annotation]] = {}
        self._open_delta = [
            self._head + b'{"index":%d,"delta":' % index for index in range(head.choices)
        ]

    def begin(self) -> bytes:
        """Return the role chunk of every choice."""
        role = b'{"role":"assistant","content":"","refusal":null}'
        return b"".join(
            opened + role + self._delta_tails[-len(role) & _FILL] for opened in self._open_delta
        )

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return one chunk for each event, and `[DONE]` for the end."""
        out: list[bytes] = []
        for event in events:
            if type(event) is Delta:
                delta: bytes | msgspec.Raw = event.delta
                size = -len(delta)
                if size < _SHORT:
                    if waits(event):
                        found = read_delta(event).annotations or ()
                        self._annotations.setdefault(event.index, []).extend(found)
                        continue
                    delta = named(event.delta)
                    size = -len(delta)
                if event.logprobs is NULL:
                    out += (self._open_delta[event.index], delta, self._delta_tails[size & _FILL])
                else:
                    sent = bytes(event.logprobs)
                    if b'"refusal":' not in sent:  # required, and few servers have it
                        sent = b'{"content":[%b],"refusal":null}' % (raw_logprobs(event) or b"")
                    size -= len(sent)
                    logprobs = (
                        b',"logprobs":',
                        sent,
                        b',"finish_reason":null}',
                        self._tails[size & _FILL],
                    )
                    out += (self._open_delta[event.index], delta, *logprobs)
            elif type(event) is Finish:
                if event.index in self._annotations:
                    cited = _json({"annotations": _cited(self._annotations.pop(event.index))})
                    out += (self._open_delta[event.index], cited)
                    out.append(self._delta_tails[-len(cited) & _FILL])
                reason = _json(event.finish_reason)
                tail = self._tails[-len(reason) & _FILL]
                if event.ended is not None:
                    tail = b"]," + _json(ended_fields(event.ended))[1:-1] + tail[1:]
                ending = (b'{},"logprobs":null,"finish_reason":', reason, b"}", tail)
                out += (self._open_delta[event.index], *ending)
            elif type(event) is Usage and self._include_usage:
                out += (self._head, b'],"usage":', _json(usage_of(event)), b"}\n\n")
            elif type(event) is End:
                if (moderation := moderation_of(event)) is not None:
                    out += (self._head, b'],"moderation":', moderation, b"}\n\n")
                out.append(b"data: [DONE]\n\n")
        return b"".join(out)

    def number(self, events: Iterator[Event], number: int, out: list[bytes]) -> Event | None:
        """Add a chunk for each delta to `out`, with wire numbers from `number` on (`numbered`).

        Return the first other event, or None at the end. An event is another one if it is no delta,
        has log probabilities, or has no chunk. It needs `encode`.
        """
        tails, opened = self._bare_tails or self._strip(), self._open_delta
        for event in events:
            if type(event) is not Delta or event.logprobs is not NULL:
                return event
            delta: bytes | msgspec.Raw = event.delta
            size = -len(delta)
            if size < _SHORT:
                if waits(event):
                    return event
                delta = named(event.delta)
                size = -len(delta)
            out.append(_NUMBERED % (opened[event.index], delta, tails[size & _FILL], number))
            number += 1
        return None

    def numbered(self, event: Event, number: int) -> bytes | None:
        """Return the chunk that `number` adds for one event, None for another one.

        It has the steps of `number` again, because a call for each token of a batch costs a fifth.
        """
        if type(event) is not Delta or event.logprobs is not NULL:
            return None
        delta: bytes | msgspec.Raw = event.delta
        size = -len(delta)
        if size < _SHORT:
            if waits(event):
                return None
            delta = named(event.delta)
            size = -len(delta)
        tails = self._bare_tails or self._strip()
        return _NUMBERED % (self._open_delta[event.index], delta, tails[size & _FILL], number)

    def _strip(self) -> list[bytes]:
        self._bare_tails = [*map(_without_end, self._delta_tails)]
        return self._bare_tails

    def heartbeat(self) -> bytes:
        """Return a chunk with an empty delta.

        A comment would break some clients; an empty chunk breaks none.
        """
        return self._open_delta[0] + b"{}" + self._delta_tails[-2 & _FILL]

    def fail(self, error: APIError) -> bytes:
        """Return the error object as an event.

        No `[DONE]` follows, so that no client takes the response for complete.
        """
        return b"data: " + error.body() + b"\n\n"


def _cited(annotations: list[Annotation]) -> list[dict[str, Any]]:
    return [{"type": "url_citation", "url_citation": it.citation()} for it in annotations]


def waits(event: Delta) -> bool:
    """Return whether a delta has no chunk, because its annotations wait for the finish."""
    return -len(event.delta) < _SHORT and bytes(event.delta).startswith(ANNOTATIONS)
