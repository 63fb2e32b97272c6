"""Turns the records of another server into events. Pure but for a log line on odd records.

`sse` splits a stream into records. A record is OpenAI's chunk or whole response (`choices`), TGI's
token (`token`) or whole text (`generated_text`), both of which LMI uses as well, or Ollama's
message (`message`, `response`). The reader is lenient where servers differ. What it cannot read and
may be a part of the answer fails the response: it never ends as an empty one.
"""

from typing import Annotated, Any, Literal

import msgspec

from lambda_fn.dialects.counts import (
    Number,
    Timings,
    UsageFields,
    count,
    read_timings,
    read_usage,
)
from lambda_fn.dialects.deltas import (
    DeltaFields,
    Said,
    other_reasoning,
    read_delta,
    unread_in,
)
from lambda_fn.dialects.lines import MALFORMED_RECORD, NO_FINISH
from lambda_fn.dialects.reasons import LENGTH, STOP, TOOL_CALLS, Reason, failure_for, reason_of
from lambda_fn.dialects.tool_calls import ToolCalls
from lambda_fn.events import (
    MALFORMED,
    NULL,
    Delta,
    End,
    Ended,
    Event,
    Failure,
    Finish,
    Start,
    Usage,
)
from lambda_fn.log import log

_NOTHING = msgspec.Raw(b"{}")
_UNREAD = Failure(code=MALFORMED, message="the response is in a form that is not known")
ANSWERS = ("text", "output", "outputs", "output_text", "content", "answer", "result", "completion")
"""Members of a record that hold the answer of servers which are not known here."""
UNLIKELY = -9999.0
"""OpenAI's log probability for a token that is next to impossible."""
_UNREAD_ANSWERS = tuple(name for name in ANSWERS if name not in ("text", "content"))
_MOST_UNREAD = 10
_BYTES_A_TOKEN = 4
_NO_ERROR = (b"null", b'""', b"{}", b"[]", b"false")


class NoRecord(ValueError):
    """An object is neither a known record nor an error."""


class _Choice(msgspec.Struct):
    index: int | str | float | None = None
    delta: DeltaFields | str | list[msgspec.Raw] | None = None
    message: DeltaFields | str | list[msgspec.Raw] | None = None
    text: str | None = None
    finish_reason: Reason = None
    finish: Reason = msgspec.field(default=None, name="finishReason")
    stop_reason: Reason = None
    matched_stop: Reason = None
    logprobs: msgspec.Raw = NULL
    usage: UsageFields | str | list[msgspec.Raw] | None = None
    error: msgspec.Raw = NULL


class _Token(msgspec.Struct):
    text: str | None = None
    special: bool = False


class _Details(msgspec.Struct):
    finish_reason: Reason = None
    generated_tokens: Number = None
    input_length: Number = None


class _Groq(msgspec.Struct):
    usage: UsageFields | str | list[msgspec.Raw] | None = None


class _Record(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: UsageFields | str | list[msgspec.Raw] | None = None
    object: Any = None
    error: msgspec.Raw = NULL
    timings: Timings | str | list[msgspec.Raw] | None = None
    x_groq: _Groq | str | list[msgspec.Raw] | None = None
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    message: DeltaFields | str | None = None
    response: str | None = None
    done: bool | None = None
    done_reason: Reason = None
    prompt_eval_count: Number = None
    eval_count: Number = None


class _UsualDelta(DeltaFields, kw_only=True):
    content: Annotated[str, msgspec.Meta(min_length=1)]
    reasoning_content: None = None
    reasoning: None = None
    thinking: None = None
    thought: None = None
    reasoning_text: None = None
    reasoning_details: None = None
    thinking_blocks: None = None
    refusal: None = None
    text: None = None
    tool_calls: None = None  # type: ignore[assignment] # narrower than a part of the answer
    function_call: None = None  # type: ignore[assignment]


class _UsualChoice(_Choice, kw_only=True):
    index: int  # narrower, as all members here
    delta: _UsualDelta
    message: None = None
    text: None = None
    finish_reason: None = None
    finish: None = msgspec.field(default=None, name="finishReason")
    stop_reason: None = None
    matched_stop: None = None
    logprobs: None = None  # type: ignore[assignment]
    usage: None = None
    error: None = None  # type: ignore[assignment]


class _UsualRecord(_Record, kw_only=True):
    """A chunk with a piece of one choice's content, perhaps the counts until there, and nothing
    else that is read.
    """

    choices: tuple[_UsualChoice]  # type: ignore[assignment]
    object: Literal["chat.completion.chunk"] | None = None
    usage: UsageFields | None = None
    error: None = None  # type: ignore[assignment]
    timings: None = None
    x_groq: None = None
    prompt_eval_count: None = None
    eval_count: None = None


class _Likely(msgspec.Struct):
    """A token and its log probability, with the members that OpenAI's document requires."""

    token: str = ""
    logprob: float | None = None
    bytes: list[int] | None = None


class _Logprob(_Likely):
    top_logprobs: list[_Likely] | None = None


class _Content(msgspec.Struct):
    content: list[_Logprob] | None = None


_record = msgspec.json.Decoder(_Record)
_usual = msgspec.json.Decoder(_UsualRecord)
_MOST_ODD = 8
"""Records in a row that are no usual chunks although they have content, after which a server's
records are no longer tried as such.
"""
_CONTENT = (b'"content":"', b'"content": "')
_anything = msgspec.json.Decoder()
_logprobs = msgspec.json.Decoder(_Content)
_json = msgspec.json.Encoder()


class _State:
    """One choice so far."""

    __slots__ = (
        "calls", "chars", "counted", "full", "gap", "matched", "message", "reason", "reasoned",
        "seen", "stop",
        "whole",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = ToolCalls()
        self.counted = 0
        self.reasoned = 0
        """Tokens of it that are reasoning, for a server that does not count them."""
        self.chars = 0
        """Characters of content and reasoning that were said."""
        self.reason: str | None = None
        """The finish reason so far: some servers send one with each chunk."""
        self.gap = True
        """Whether something was said since `reason` came."""
        self.stop: Reason = None
        """What stands beside a finish reason that is null to the end."""
        self.matched: str | None = None
        """The end that vLLM and SGLang report: the stop sequence, if one ended the answer."""
        self.seen = False
        """Whether anything was said."""
        self.message = False
        """Whether it is said in messages, not in deltas."""
        self.whole = False
        """Whether it came as one whole message."""
        self.full = False
        """Whether it has reached the limit of tokens."""


class Records:
    """Reads the records of one response, and counts tokens if the server does not report usage.

    Nothing may be read after a `Failure`, or after `full`.
    """

    def __init__(self, choices: int, limit: int | None = None) -> None:
        """Expect a response of `choices` choices.

        `limit` is the maximum number of tokens of each, for a server that was not told it. A choice
        ends with the record that reaches it.
        """
        self._states = [_State() for _ in range(choices)]
        self._limit = limit
        self._prompt_tokens = 0
        self._cached = 0
        self._reasoning = 0
        self._total: int | None = None
        self._unread: set[str] = set()
        self._lost = False
        """Whether the answer began well and then had a part in no known form."""
        self.started = False
        self._odd = _MOST_ODD if limit is not None else 0

    @property
    def whole(self) -> bool:
        """Whether every choice came as one whole message, which needs no other end."""
        return all(state.whole for state in self._states)

    @property
    def full(self) -> bool:
        """Whether every choice has reached the limit of tokens."""
        return self._limit is not None and all(state.full for state in self._states)

    def read(self, payload: bytes, events: list[Event]) -> None:
        """Append the events of one JSON object. A `Failure` ends the response.

        Raises:
            NoRecord: the object is not a record. Nothing was read of it.
            ValueError: the record is malformed, or only a part of one.
            RecursionError: the object is nested too deeply.

        """
        # Reasoning, whose chunks have no content, says nothing about the chunks behind it.
        if self.started and self._odd < _MOST_ODD and any(it in payload for it in _CONTENT):
            if self._usual(payload, events):
                self._odd = 0
                return
            self._odd += 1
        try:
            record = _record.decode(payload)
        except msgspec.ValidationError:
            # An error may have members of any type beside its text.
            fields = _anything.decode(payload)
            if isinstance(fields, dict) and (
                fields.get("error") or fields.get("object") == "error"
            ):
                events.append(read_failure(payload))
                return
            raise
        if record.object == "error" or (
            record.error is not NULL and bytes(record.error) not in _NO_ERROR
        ):
            events.append(read_failure(payload))
            return
        choices = record.choices
        reported = self._counts(record)
        if choices is None and not self._is_record(record):
            events.append(self._other(payload))
            return
        if not self.started:
            self.started = True
            events.append(Start(prompt_tokens=self._prompt_tokens))
        if choices is None:
            if record.token is not None or record.generated_text is not None:
                self._token(record, events)
            elif record.message is not None or record.response is not None or record.done:
                self._message(record, reported, payload, events)
            elif reported is not None:
                self._total = reported
            return
        if not choices and reported is not None:
            self._total = reported
        # Usage beside one choice is that choice's count so far. Beside several it is their sum.
        if len(choices) > 1 and reported is not None:
            self._total = reported
            reported = None
        for place, choice in enumerate(choices):
            self._choice(place, choice, record, reported, payload, events)
            if events and type(events[-1]) is Failure:
                return

    def _usual(self, payload: bytes, events: list[Event]) -> bool:
        """Append the delta of a usual chunk, as nearly all are. Return False for another one."""
        try:
            record = _usual.decode(payload)
        except (ValueError, RecursionError):  # it is read, or rejected, as any record
            return False
        [choice] = record.choices
        index, usage = choice.index, record.usage
        counts = None if usage is None else usage.plain()
        if not 0 <= index < len(self._states) or (usage is not None and counts is None):
            return False
        state = self._states[index]
        if state.whole:
            return False
        tokens = 1
        if counts is not None:
            self._prompt_tokens = max(self._prompt_tokens, counts[0])
            tokens = max(0, counts[1] - state.counted)
        state.seen = state.gap = True
        state.counted += tokens
        state.chars += len(choice.delta.content)
        delta = _raw({"content": choice.delta.content})
        events.append(Delta(delta, index, tokens))
        return True

    def end(self, events: list[Event]) -> None:
        """Append the events that end the response: what was held back, and `Usage` and `End`.

        A response that is not complete ends in a `Failure`.
        """
        for state in self._states:
            if state.reason is None and state.seen:
                state.reason = self._last_reason(state)
        if any(state.reason is None for state in self._states):
            events.append(NO_FINISH)
            return
        if self._lost or (self._unread and not all(state.seen for state in self._states)):
            log("unread", members=sorted(name for name in self._unread if name.isidentifier()))
            events.append(_UNREAD)
            return
        for index, state in enumerate(self._states):
            try:
                pieces = state.calls.close(cut=state.reason == LENGTH)
            except ValueError:
                events.append(MALFORMED_RECORD)
                return
            if pieces:
                events.append(Delta(_raw({"tool_calls": pieces}), index=index))
        for index, state in enumerate(self._states):
            # Some servers end a call with "stop", vLLM one that was forced by name.
            reason = TOOL_CALLS if state.calls and state.reason == STOP else state.reason
            matched = state.matched if state.reason == STOP else None
            events.append(Finish(reason or STOP, index, stop_sequence=matched))
        events.append(self.usage)
        events.append(End())

    def cut(self, ended: Ended) -> list[Event]:
        """Return the events that end a response before the server does. See `Decoder.cut`."""
        events: list[Event] = []
        for index, state in enumerate(self._states):
            reason = None if state.gap else state.reason
            try:
                pieces = state.calls.close(cut=reason is None)
            except ValueError:  # the last call has not come to its name
                pieces = []
            if pieces:
                events.append(Delta(_raw({"tool_calls": pieces}), index=index))
            if reason is None:
                events.append(Finish(LENGTH, index, ended))
            else:
                events.append(
                    Finish(TOOL_CALLS if state.calls and reason == STOP else reason, index)
                )
        events.append(self.usage)
        return events

    @property
    def finished(self) -> bool:
        """Whether every choice has a finish reason."""
        return all(
            state.reason is not None or (state.seen and self._last_reason(state) is not None)
            for state in self._states
        )

    @property
    def usage(self) -> Usage:
        """The token counts: the server's total if it reported one, else the sum of the deltas."""
        counted = sum(state.counted for state in self._states)
        reasoned = self._reasoning or sum(state.reasoned for state in self._states)
        total = counted if not self._total or self.full else self._total
        return Usage(
            prompt_tokens=self._prompt_tokens,
            completion_tokens=total,
            cached_tokens=min(self._cached, self._prompt_tokens),
            reasoning_tokens=min(reasoned, total),
        )

    def _last_reason(self, state: _State) -> str | None:
        """Return the reason of a choice whose finish reason is null to the end."""
        if state.stop is not None:
            return reason_of(state.stop) or STOP
        if state.whole:
            return TOOL_CALLS if state.calls else STOP
        return None

    def _counts(self, record: _Record) -> int | None:
        """Take a record's counts, and return that of completion tokens if there is one."""
        found = None
        usage = record.usage
        timings = record.timings
        if (
            type(usage) is UsageFields
            and not isinstance(timings, Timings)
            and (plain := usage.plain()) is not None
        ):
            self._prompt_tokens = max(self._prompt_tokens, plain[0])
            return plain[1]
        if usage is None and record.choices and len(record.choices) == 1:
            usage = record.choices[0].usage  # as Moonshot sends it
        if usage is None and isinstance(record.x_groq, _Groq):
            usage = record.x_groq.usage
        if isinstance(usage, UsageFields):
            found = read_usage(usage)
        if isinstance(timings, Timings):
            timed = read_timings(timings)
            found = found or timed
            found.cached = found.cached or timed.cached
        if found is None:
            if record.eval_count is None and record.prompt_eval_count is None:
                return None
            self._prompt_tokens = max(self._prompt_tokens, count(record.prompt_eval_count) or 0)
            return count(record.eval_count)
        if found.prompt:
            self._prompt_tokens = max(self._prompt_tokens, found.prompt)
        if found.cached:
            self._cached = found.cached
        if found.reasoning:
            self._reasoning = found.reasoning
        return found.completion

    @staticmethod
    def _is_record(record: _Record) -> bool:
        return (
            record.token is not None
            or record.generated_text is not None
            or isinstance(record.message, DeltaFields)
            or record.response is not None
            or record.done is not None
            or isinstance(record.usage, UsageFields)
            or isinstance(record.timings, Timings)
            or str(record.object).startswith("chat.completion")
        )

    @staticmethod
    def _other(payload: bytes) -> Event:
        """Return the failure that an object without `choices` describes.

        Raises:
            NoRecord: it is not an error either.

        """
        fields = _anything.decode(payload)
        texts = ("detail", "message", "error_message", "error_type", "errors")
        if isinstance(fields, dict) and any(fields.get(name) for name in texts):
            return read_failure(payload)
        raise NoRecord("neither a record nor an error")

    def _choice(
        self,
        place: int,
        choice: _Choice,
        record: _Record,
        so_far: int | None,
        payload: bytes,
        events: list[Event],
    ) -> None:
        index = choice.index
        if type(index) is not int:
            number = count(index)
            index = place if number is None else number
        if not 0 <= index < len(self._states):
            raise ValueError("a choice that was not requested")
        state = self._states[index]
        if state.full:
            return
        if choice.error is not NULL and bytes(choice.error) not in _NO_ERROR:
            events.append(read_failure(choice.error))
            return
        said = self._read(choice, state, record)
        if not said or choice.message is not None:
            self._look_further(place, payload, said, state)
        self._say(state, index, said, so_far, choice.logprobs, payload, events)
        if choice.finish_reason is not None:
            self._finish(state, choice.finish_reason, events)
        elif choice.finish is not None:
            self._finish(state, choice.finish, events)
        if choice.stop_reason is not None:
            state.stop = choice.stop_reason
        if isinstance(matched := choice.matched_stop or choice.stop_reason, str):
            state.matched = matched

    def _read(self, choice: _Choice, state: _State, record: _Record) -> Said:
        """Return the content of a choice: that of its delta, or else of a text or a whole message.

        Some servers send both, and some end a stream with the whole message once more.
        """
        delta = choice.delta
        said = read_delta(delta) if type(delta) is DeltaFields else _said_by(delta)
        if said.content:
            return said
        self._miss(said.unread)
        if not said and choice.text:
            said = Said(choice.text)
        if said or choice.message is None:
            return said
        said = _said_by(choice.message)
        self._miss(said.unread)
        if state.seen and not state.message:
            if len(said.content) + len(said.reasoning) > state.chars:
                raise ValueError("a message that says more than the deltas before it")
            return Said()
        state.message = True
        state.whole = record.object != "chat.completion.chunk"
        return said

    def _say(
        self,
        state: _State,
        index: int,
        said: Said,
        so_far: int | None,
        logprobs: msgspec.Raw,
        payload: bytes,
        events: list[Event],
    ) -> None:
        fields: dict[str, Any] = {}
        if said.reasoning:
            fields["reasoning_content"] = said.reasoning
        if said.content:
            fields["content"] = said.content
        if said.refusal:
            fields["refusal"] = said.refusal
        if said.calls:
            pieces = state.calls.read(said.calls, b"%d:%b" % (index, payload))
            if pieces:
                fields["tool_calls"] = pieces
        # The best source of a chunk's tokens is the running count, then the log probabilities, then
        # one token for any delta. A whole message has about one for four bytes.
        delta = _raw(fields) if fields else _NOTHING
        tokens = 1 if fields else 0
        if fields and state.whole:
            tokens = _estimate(bytes(delta))
        if logprobs is not NULL:
            logprobs, entries = _read_logprobs(logprobs)
            tokens = entries or tokens
        if so_far is not None:
            tokens = max(0, so_far - state.counted)
        if not fields and not tokens and logprobs is NULL:
            return
        state.counted += tokens
        if said.reasoning:
            state.reasoned += share(tokens, said.reasoning, said.content)
        if fields:
            state.seen = state.gap = True
            state.chars += len(said.content) + len(said.reasoning)
        events.append(Delta(delta, index, tokens, logprobs))
        if self._limit is not None and state.counted >= self._limit:
            state.full = True
            state.reason = LENGTH

    def _finish(self, state: _State, sent: Reason, events: list[Event]) -> None:
        reason = reason_of(sent)
        if reason is None:
            return
        if (failure := failure_for(reason)) is not None:
            events.append(failure)
        elif state.full:
            state.reason = reason  # the server's own end, at the limit
        elif state.reason is None or state.gap or reason != STOP:
            state.reason = reason
            state.gap = False

    def _token(self, record: _Record, events: list[Event]) -> None:
        state = self._states[0]
        if state.full:
            return
        token, details = record.token, record.details
        text = ""
        if token is not None and not token.special:
            text = token.text or ""  # an end-of-sequence token is counted, but not said
        if not text and not state.seen:
            text = record.generated_text or ""
        fields = {"content": text} if text else {}
        tokens = 1 if token is not None else _estimate(text.encode())
        state.counted += tokens
        if text:
            state.seen = state.gap = True
        if tokens:
            events.append(Delta(_raw(fields), tokens=tokens))
        if self._limit is not None and state.counted >= self._limit:
            state.full, state.reason = True, LENGTH
        if details is not None:
            self._prompt_tokens = max(self._prompt_tokens, count(details.input_length) or 0)
            generated = count(details.generated_tokens)
            # LMI's vLLM handler reports one token more than there were.
            if generated is not None and (token is None or generated != state.counted + 1):
                self._total = generated
            if details.finish_reason is not None:
                self._finish(state, details.finish_reason, events)
        if record.generated_text is not None:
            state.whole = state.whole or token is None
            if state.reason is None:
                state.reason = STOP

    def _message(
        self, record: _Record, reported: int | None, payload: bytes, events: list[Event]
    ) -> None:
        """Read Ollama's message, a piece of which comes with each record until `done`."""
        state = self._states[0]
        if state.full:
            return
        said = Said(record.response or "")
        if isinstance(record.message, DeltaFields):
            said = read_delta(record.message)
            self._miss(said.unread)
        self._say(state, 0, said, reported, NULL, payload, events)
        if record.done:
            state.whole = True
            self._finish(state, record.done_reason, events)
            state.reason = state.reason or (TOOL_CALLS if state.calls else STOP)

    def _look_further(self, place: int, payload: bytes, said: Said, state: _State) -> None:
        """Look for reasoning in the members that are not known, and read it. If nothing is said,
        note the members that may hold the answer.
        """
        fields = _anything.decode(payload)
        choice = fields["choices"][place]
        members = (choice, choice.get("delta"), choice.get("message"))
        if not said.reasoning and (
            state.message or not state.seen or choice.get("message") is None
        ):
            said.reasoning = next((text for it in members if (text := other_reasoning(it))), "")
        if said:
            return
        if state.seen:
            for it in members:
                self._lost |= isinstance(it, dict) and any(it.get(name) for name in _UNREAD_ANSWERS)
            return
        self._miss(tuple(name for name in ANSWERS if fields.get(name)))
        for it in members:
            self._miss(unread_in(it))

    def _miss(self, names: tuple[str, ...]) -> None:
        if names and len(self._unread) < _MOST_UNREAD:
            self._unread.update(names[:_MOST_UNREAD])


def read_failure(sent: bytes | msgspec.Raw) -> Failure:
    """Return the failure that an error describes.

    The module that reads errors is not imported at a cold start.
    """
    from lambda_fn.dialects.failures import failure_of

    return failure_of(sent)


def _said_by(sent: DeltaFields | str | list[msgspec.Raw] | None) -> Said:
    """Return the content of a delta or message. PHP's proxies send an empty one as a list."""
    if type(sent) is DeltaFields:
        return read_delta(sent)
    return Said(sent) if isinstance(sent, str) else Said()


def _estimate(text: bytes) -> int:
    """Return about how many tokens a text has, for a server that does not tell."""
    return max(1, len(text) // _BYTES_A_TOKEN) if text else 0


def share(tokens: int, reasoning: str, content: str) -> int:
    """Return how many tokens of a piece are reasoning, by the lengths of both texts."""
    return tokens * len(reasoning) // (len(reasoning) + len(content))


def _raw(fields: dict[str, Any]) -> msgspec.Raw:
    return msgspec.Raw(_json.encode(fields))


def _read_logprobs(sent: msgspec.Raw) -> tuple[msgspec.Raw, int]:
    """Return log probabilities as OpenAI has them, and the number of their tokens.

    What has another form is `NULL`. LMI puts them into a list of one.
    """
    data = bytes(sent)
    if data.startswith(b"["):
        entries = msgspec.json.decode(data, type=list[msgspec.Raw])
        data = bytes(entries[0]) if len(entries) == 1 else b""
    try:
        content = _logprobs.decode(data).content if data.startswith(b"{") else None
    except msgspec.ValidationError:
        content = None
    if content is None:
        return NULL, 0
    for entry in content:
        entry.top_logprobs = entry.top_logprobs or []
        for likely in (entry, *entry.top_logprobs):
            if likely.logprob is None:
                likely.logprob = UNLIKELY
    return msgspec.Raw(_json.encode({"content": content, "refusal": None})), len(content)
