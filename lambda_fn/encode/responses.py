"""OpenAI's responses: server-sent events with names and numbers, or one `response` object.

A response is a list of items: messages with parts, reasoning, function calls. Both forms are
written from the steps of `Blocks`, so a stream has one item open at a time. What a stream repeats
at an end (`*.done`, `response.completed`) is assembled here. The log does not have it.

    response.created, response.queued if it is logged and in the background, response.in_progress
      each item: output_item.added, its parts and deltas, output_item.done
    response.completed | response.incomplete | response.failed
    [DONE]

Its heartbeat is a comment, which has no number: some clients fail on events that they do not know.
Deltas are padded as those of chats are.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from lambda_fn.encode.base import PADDING_BLOCK, Head, SizeLimit, ended_fields
from lambda_fn.encode.blocks import Begin, Blocks, Cite, Finished, Grow, Kind, Step
from lambda_fn.errors import APIError, Cancelled, responses_text
from lambda_fn.events import NULL, Delta, End, Ended, Event, Failed, Finish, Start, Usage

_json = msgspec.json.encode
_FILL = PADDING_BLOCK - 1  # `-size & _FILL` is `-size % PADDING_BLOCK`
_KEEPALIVE = b": keepalive\n\n"
_DONE = b"data: [DONE]\n\n"
_LOST = b',"sluice":{"log":"lost"}'
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of incomplete responses, and the reasons that the responses give.

OpenAI's list has no others, so a response that this service ended says more in `sluice`.
"""
MAX_REPEATED_LOGPROBS = 1_000_000
"""Bytes of a text's log probabilities up to which the events at its end repeat them.

If there are more, only the deltas have them: a stream would have them five times.
"""


Part = bytes | memoryview


class Writer(Protocol):
    """Takes the events of items."""

    def write(self, name: str, *members: Part) -> None:
        """Take an event: its type, and its members but for the number, as parts of their JSON."""
        ...

    def write_delta(self, form: bytes, text: bytes, tail: bytes) -> None:
        """Take a delta: the whole event with places for its number, its text and its last
        members.
        """
        ...


class _Part:
    """What grows: a part of a message, the text of reasoning, or the arguments of a call.

    `noun` stands in the names of its events. `place` has the members that say where it is. `tails`
    are the last members of its deltas without log probabilities, by the length of their padding.
    """

    def __init__(self, noun: str, place: bytes, tails: list[bytes]) -> None:
        self.noun = noun
        self.place = place
        opening = _opening(f"response.{noun}.delta")
        self.form = opening + b"%d," + place.replace(b"%", b"%%") + b',"delta":%b%b}\n\n'
        self.tails = tails
        self.texts: list[str] = []
        self.logprobs = bytearray()
        self.annotations: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def add_logprobs(self, entries: bytes, max_logprobs: int) -> None:
        if len(self.logprobs) <= max_logprobs:
            self.logprobs += b"," + entries if self.logprobs else entries

    def entries(self, max_logprobs: int) -> msgspec.Raw:
        kept = self.logprobs if len(self.logprobs) <= max_logprobs else b""
        return msgspec.Raw(b"[%b]" % bytes(kept))


class _Item:
    """The open item. `fields` is the item as it is when it ends, but for its open part."""

    def __init__(self, index: int, fields: dict[str, Any]) -> None:
        self.index = index
        self.fields = fields
        self.place = b'"item_id":%b,"output_index":%d' % (_json(fields["id"]), index)
        self.kind: Kind = "text"
        self.part: _Part | None = None


class _Output:
    """The items of one response."""

    def __init__(self, head: Head, writer: Writer) -> None:
        self._head = head
        self._write = writer.write
        self._write_delta = writer.write_delta
        self._summary = head.summary is True
        self._max_logprobs = head.max_bytes
        if head.form == "responses_stream":
            self._max_logprobs = MAX_REPEATED_LOGPROBS
        self._call_ids: set[str] = set()
        self._open: _Item | None = None
        seed = sha256(head.response_id.encode()).digest()
        padding = urlsafe_b64encode(seed)
        self._tails = [
            b',"obfuscation":"%b"' % padding[:size] if head.obfuscate else b""
            for size in range(PADDING_BLOCK)
        ]
        self._text_tails = [b',"logprobs":[]' + tail for tail in self._tails]
        self.items: list[bytes] = []
        self._said = 0  # characters of the text of earlier parts

    @property
    def partial(self) -> list[bytes]:
        """The items, with the open one as far as it came."""
        item = self._open
        if item is None:
            return self.items
        fields = {**item.fields, "status": "incomplete"}
        if item.part is not None:
            self._put(fields, item.kind, item.part)
        return [*self.items, _json(fields)]

    def take(self, steps: Iterable[Step]) -> None:
        """Take steps. The open item stays open if it may grow by another part."""
        for step in steps:
            if type(step) is Grow:
                self.grow(step.text, step.logprobs)
            elif type(step) is Begin:
                self._begin(step)
            elif type(step) is Cite:
                self._cite(step)
            else:
                self._finish(step.kind)

    def end(self, steps: Iterable[Step], *, incomplete: bool) -> None:
        """Take the last steps. The last item of an incomplete response is incomplete too."""
        rest = list(steps)
        last = rest.pop() if incomplete and rest and type(rest[-1]) is Finished else None
        self.take(rest)
        if last is not None:
            self._finish(last.kind, "incomplete")
        self._close("incomplete" if incomplete else "completed")

    def _begin(self, begun: Begin) -> None:
        kind = begun.kind
        if kind not in ("text", "refusal") or self._open is None:
            self._close()
            self._add(begun)
        item = self._open
        assert item is not None  # noqa: S101 (it was added)
        item.kind = kind
        if kind == "thinking" and self._summary:
            place = b'%b,"summary_index":0' % item.place
            item.part = _Part("reasoning_summary_text", place, self._tails)
            part: dict[str, Any] = {"type": "summary_text", "text": ""}
            self._write("response.reasoning_summary_part.added", place + b',"part":' + _json(part))
        elif kind == "tool_use":
            item.part = _Part("function_call_arguments", item.place, self._tails)
        else:
            noun, part = _PARTS[kind]
            place = b'%b,"content_index":%d' % (item.place, len(item.fields["content"]))
            item.part = _Part(noun, place, self._text_tails if kind == "text" else self._tails)
            self._write("response.content_part.added", place + b',"part":' + _json(part))

    def _add(self, begun: Begin) -> None:
        index = len(self.items)
        name = f"{self._head.response_id}_{index}"
        fields: dict[str, Any]
        if begun.call is not None:
            fields = {
                "id": f"fc_{name}",
                "type": "function_call",
                "status": "in_progress",
                "arguments": "",
                "call_id": self._call_id(begun.call.id, index),
                "name": begun.call.function.name or "",
            }
        elif begun.kind == "thinking":
            fields = {"id": f"rs_{name}", "type": "reasoning", "status": "in_progress"}
            fields |= {"summary": []} if self._summary else {"summary": [], "content": []}
        else:
            fields = {
                "id": f"msg_{name}",
                "type": "message",
                "status": "in_progress",
                "content": [],
                "role": "assistant",
            }
        self._open = _Item(index, fields)
        members = b'"output_index":%d,"item":%b' % (index, _json(fields))
        self._write("response.output_item.added", members)

    def _call_id(self, named: str | None, index: int) -> str:
        """Return the id of a call. No two calls have the same."""
        if not named or named in self._call_ids:
            named = f"call_{self._head.response_id}_{index}"
        self._call_ids.add(named)
        return named

    def grow(self, text: str, logprobs: bytes = b"") -> None:
        """Append to the open part. Only a text has log probabilities."""
        part = self._open.part if self._open is not None else None
        assert part is not None  # noqa: S101 (a block begins before it grows)
        part.texts.append(text)
        data = _json(text)
        if not logprobs:
            self._write_delta(part.form, data, part.tails[-len(data) & _FILL])
            return
        part.add_logprobs(logprobs, self._max_logprobs)
        tail = self._tails[-(len(data) + len(logprobs)) & _FILL]
        self._write_delta(part.form, data, b',"logprobs":[%b]%b' % (logprobs, tail))

    def _cite(self, cited: Cite) -> None:
        """Annotate the open part, in whose text the offsets count."""
        part = self._open.part if self._open is not None else None
        assert part is not None  # noqa: S101 (a block begins before it cites)
        annotation = {
            "type": "url_citation",
            **cited.source.citation(),
            "start_index": max(0, cited.source.start - self._said),
            "end_index": max(0, cited.source.end - self._said),
        }
        members = b'%b,"annotation_index":%d,"annotation":%b' % (
            part.place,
            len(part.annotations),
            _json(annotation),
        )
        part.annotations.append(annotation)
        self._write("response.output_text.annotation.added", members)

    def _finish(self, kind: Kind, status: str = "completed") -> None:
        """End the open part, and its item unless that is a message."""
        item = self._open
        part = item.part if item is not None else None
        assert item is not None  # noqa: S101 (a block begins before it ends)
        assert part is not None  # noqa: S101
        item.part = None
        text = _json(part.text)
        if kind == "tool_use":
            name = _json(item.fields["name"])
            members = b'%b,"arguments":%b,"name":%b' % (part.place, text, name)
        elif kind == "text":
            entries = bytes(part.entries(self._max_logprobs))
            members = b'%b,"text":%b,"logprobs":%b' % (part.place, text, entries)
        else:
            member = b"refusal" if kind == "refusal" else b"text"
            members = b'%b,"%b":%b' % (part.place, member, text)
        self._write(f"response.{part.noun}.done", members)
        said = self._put(item.fields, kind, part)
        if kind == "text":
            self._said += len(part.text)
        if kind == "thinking" and self._summary:
            self._write(
                "response.reasoning_summary_part.done", part.place + b',"part":' + _json(said)
            )
        elif kind != "tool_use":
            self._write("response.content_part.done", part.place + b',"part":' + _json(said))
        if kind in ("thinking", "tool_use"):
            self._close(status)

    def _put(self, fields: dict[str, Any], kind: Kind, part: _Part) -> dict[str, Any]:
        """Put a part into its item, and return it as it stands there."""
        said: dict[str, Any] = {}
        if kind == "tool_use":
            fields["arguments"] = part.text
        elif kind == "thinking" and self._summary:
            said = {"type": "summary_text", "text": part.text}
            fields["summary"] = [said]
        elif kind == "thinking":
            said = {"type": "reasoning_text", "text": part.text}
            fields["content"] = [said]
        elif kind == "refusal":
            said = {"type": "refusal", "refusal": part.text}
            fields["content"] = [*fields["content"], said]
        else:
            said = {
                "type": "output_text",
                "text": part.text,
                "annotations": part.annotations,
                "logprobs": part.entries(self._max_logprobs),
            }
            fields["content"] = [*fields["content"], said]
        return said

    def _close(self, status: str = "completed") -> None:
        if self._open is None:
            return
        item, self._open = self._open, None
        data = _json({**item.fields, "status": status})
        self.items.append(data)
        members = b'"output_index":%d,"item":%b' % (item.index, data)
        self._write("response.output_item.done", members)


_PARTS: dict[Kind, tuple[str, dict[str, Any]]] = {
    "text": ("output_text", {"type": "output_text", "text": "", "annotations": [], "logprobs": []}),
    "refusal": ("refusal", {"type": "refusal", "refusal": ""}),
    "thinking": ("reasoning_text", {"type": "reasoning_text", "text": ""}),
}
"""The noun in the names of a part's events, and the part as it begins."""


class _Response:
    """A response while its events come."""

    def __init__(self, head: Head, writer: Writer) -> None:
        self._head = head
        self._blocks = Blocks(thinking=True)
        self._output = _Output(head, writer)
        self._prompt = self._cached = self._completion = self._reasoning = 0
        self._finish = Finish("stop")
        self._says = self._generated = False
        self.tells_partial = True
        """Whether a failed response has its output as far as it came."""
        fields = {
            "id": f"resp_{head.response_id}",
            "object": "response",
            "created_at": head.created,
            "model": head.model,
        }
        self._beginning = _json(fields)[:-1] + b","
        echoes = b"{}" if head.echoes is msgspec.UNSET else bytes(head.echoes)
        # They may be large, and each response of a stream has them: no copy is made of the rest.
        self._echoes = (b"" if echoes == b"{}" else b",", memoryview(echoes)[1:])

    def take(self, event: Event) -> None:
        """Take an event that is not terminal."""
        if type(event) is Delta:
            self._completion += event.tokens
            text = self._blocks.grown(event)
            if text is None:
                self._output.take(self._noting(self._blocks.add(event)))
            else:
                self._output.grow(text)
        elif type(event) is Start:
            self._prompt, self._generated = event.prompt_tokens, True
        elif type(event) is Finish:
            self._finish, self._generated = event, True
        elif type(event) is Usage:
            self._prompt, self._cached = event.prompt_tokens, event.cached_tokens
            self._completion, self._reasoning = event.completion_tokens, event.reasoning_tokens

    def _noting(self, steps: Iterable[Step]) -> Iterable[Step]:
        """Yield the steps, and note whether the model said anything except reasoning."""
        for step in steps:
            self._says = self._says or step.kind != "thinking"
            yield step

    def end(self, end: End) -> tuple[str, list[Part]]:
        """End the items, and return the status of the response and the response, in parts."""
        reason = _INCOMPLETE.get(self._finish.finish_reason)
        steps = list(self._noting(self._blocks.end()))
        # Clients expect a message, and it may be empty, unless nothing was generated at all.
        if not self._says and reason is None and self._generated:
            steps += [Begin("text"), Finished("text")]
        self._output.end(steps, incomplete=reason is not None)
        told = {} if end.moderation is NULL else {"moderation": end.moderation}
        if reason is None:
            return "completed", self.body("completed", completed_at=end.completed_at, **told)
        return "incomplete", self.body("incomplete", details={"reason": reason}, **told)

    def failed(self, error: APIError) -> list[Part]:
        """Return the response as it is when it fails: with what there is of its output.

        A cancelled one has none.
        """
        if isinstance(error, Cancelled):
            return self._written("cancelled", output=[])
        fields = {"code": _code(error), "message": responses_text(error.message)}
        output = self._output.partial if self.tells_partial else []
        return self._written("failed", output=output, error=fields)

    def body(self, status: str, **fields: Any) -> list[Part]:
        """Return the response with this status, its output and its usage."""
        return self._written(
            status,
            output=self._output.items,
            usage=self._usage(),
            ended=self._finish.ended,
            **fields,
        )

    def begun(self, status: str = "in_progress") -> list[Part]:
        """Return the response before it has any output."""
        return self._written(status, output=[])

    def _written(
        self,
        status: str,
        *,
        output: list[bytes],
        usage: dict[str, Any] | None = None,
        completed_at: int | None = None,
        error: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
        ended: Ended | None = None,
        moderation: msgspec.Raw | None = None,
    ) -> list[Part]:
        fields: dict[str, Any] = {
            "status": status,
            "completed_at": completed_at,
            "error": error,
            "incomplete_details": details,
            "output": msgspec.Raw(b"[%b]" % b",".join(output)),
            "usage": usage,
            **ended_fields(ended),
        }
        if moderation is not None:
            fields["moderation"] = moderation
        return [self._beginning, _json(fields)[1:-1], *self._echoes]

    def _usage(self) -> dict[str, Any]:
        return usage_of(Usage(self._prompt, self._completion, self._cached, self._reasoning))


def usage_of(event: Usage) -> dict[str, Any]:
    """Return the usage object of the Responses API."""
    return {
        "input_tokens": event.prompt_tokens,
        "input_tokens_details": {"cached_tokens": event.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": event.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": event.reasoning_tokens},
        "total_tokens": event.prompt_tokens + event.completion_tokens,
    }


def _code(error: APIError) -> str:
    """Return the code of a failed response, which is one of OpenAI's closed list."""
    if error.status == 429:
        return "rate_limit_exceeded"
    return "invalid_prompt" if error.status == 400 else "server_error"


def snapshot(
    head: Head,
    events: Iterable[Event],
    error: APIError | None = None,
    *,
    status: Literal["queued", "in_progress"] = "in_progress",
) -> bytes:
    """Return a response as it stands: ended by its events or by an error, else in `status`.

    It has the form of a whole response, whatever the form of the head.
    """
    response = _Response(msgspec.structs.replace(head, form="responses_body"), _Unsent())
    begun = response.begun(status)
    for event in events:
        if type(event) is End:
            return b"".join(response.end(event)[1])
        response.take(event)
    return b"".join(begun if error is None else response.failed(error))


def output_of(head: Head, events: Iterable[Event]) -> list[msgspec.Raw]:
    """Return the items of a response that has ended, without log probabilities."""
    plain = (
        msgspec.structs.replace(event, logprobs=NULL) if type(event) is Delta else event
        for event in events
    )
    return _output.decode(snapshot(head, plain)).output


class _Whole(msgspec.Struct):
    output: list[msgspec.Raw]


_output = msgspec.json.Decoder(_Whole)


class ResponseStream:
    """A streamed response."""

    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"

    def __init__(self, head: Head) -> None:
        """Begin with the first event after the two that begin every response.

        A response in the background is in progress from its first event on.

        `number` is that of the next event. Events up to the number `after` are left out. If
        `log_lost` is set, the next event says so.
        """
        self._out: list[Part] = []
        self.number = 2
        self.after = -1
        self.log_lost = False
        self._beginning = ("response.created", "response.in_progress")
        self._waits = head.queued is True
        """Whether the event that the response is in progress is still to come."""
        if self._waits:
            self._beginning = ("response.created", "response.queued")
        self._is_queued = self._waits
        self._response = _Response(head, self)

    def begin(self) -> bytes:
        """Return the two events that begin every response, even if others were encoded."""
        begun = self._response.begun("queued" if self._is_queued else "in_progress")
        out: list[Part] = []
        for number, name in enumerate(self._beginning):
            if number > self.after:
                out += (_opening(name), b'%d,"response":' % number, *begun, b"}\n\n")
        return b"".join(out)

    def encode(self, events: Iterable[Event]) -> bytes:
        """Return the events of items, and the end of the response."""
        for event in events:
            if self._waits and type(event) is not Failed:
                self._waits = False
                self.write("response.in_progress", b'"response":', *self._response.begun())
            if type(event) is End:
                status, response = self._response.end(event)
                self.write(f"response.{status}", b'"response":', *response)
                self._out.append(_DONE)
            else:
                self._response.take(event)
        return self._taken()

    def heartbeat(self) -> bytes:
        """Return a comment."""
        return _KEEPALIVE

    def drop_output(self) -> None:
        """Remove the output of a response that failed."""
        self._response.tells_partial = False

    def fail(self, error: APIError) -> bytes:
        """Return the event that tells of the failure, which has the response."""
        self.write("response.failed", b'"response":', *self._response.failed(error))
        self._out.append(_DONE)
        return self._taken()

    def write(self, name: str, *members: Part) -> None:
        """Write an event. See `Writer`."""
        number = self.number
        self.number = number + 1
        if number > self.after:
            if self.log_lost:
                members = (*members, _LOST)
                self.log_lost = False
            self._out += (_opening(name), b"%d," % number, *members, b"}\n\n")

    def write_delta(self, form: bytes, text: bytes, tail: bytes) -> None:
        """Write a delta. See `Writer`."""
        number = self.number
        self.number = number + 1
        if number > self.after:
            if self.log_lost:
                tail += _LOST
                self.log_lost = False
            self._out.append(form % (number, text, tail))

    def _taken(self) -> bytes:
        taken, self._out = b"".join(self._out), []
        return taken


@cache  # there are some twenty names
def _opening(name: str) -> bytes:
    """Return the beginning of an event, up to its number."""
    kind = name.encode()
    return b'event: %b\ndata: {"type":"%b","sequence_number":' % (kind, kind)


class _Unsent:
    """Drops the events of a response that is not streamed."""

    def write(self, name: str, *members: Part) -> None:
        pass

    def write_delta(self, form: bytes, text: bytes, tail: bytes) -> None:
        pass


class ResponseBody:
    """A response that is not streamed."""

    content_type: ClassVar[str] = "application/json"

    def __init__(self, head: Head) -> None:
        """Begin with no item."""
        self._response = _Response(head, _Unsent())
        self._size_limit = SizeLimit(head.max_bytes)

    def begin(self) -> bytes:
        """Return nothing yet."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Collect the events, and return the object at the end. Raises ResponseTooLarge."""
        for event in events:
            if type(event) is Delta:
                self._size_limit.add(event)
            if type(event) is End:
                return b"".join(self._response.end(event)[1])
            self._response.take(event)
        return b""

    def heartbeat(self) -> bytes:
        """Return a space."""
        return b" "

    def fail(self, error: APIError) -> None:
        """Return None: clients take a JSON value with the status 200 for a success."""
