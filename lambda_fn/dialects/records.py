"""Turns one record of another server into events. Pure.

`sse` splits a stream into records. There are two kinds of record, which differ in their members:
OpenAI's chunk (`choices`), and TGI's token (`token`), which LMI uses as well. The reader is lenient
where servers differ: the role may be repeated, members may be null, a single tool call may come
without its list, and usage may come with each chunk, at the end or never.
"""

from collections.abc import Iterator

import msgspec

from lambda_fn.dialects.lines import Choices
from lambda_fn.events import NULL, Count, Delta, Event, Failure, Finish, Index, Start, Usage

_EMPTY = {b"null", b'""', b"[]"}
_FINISHES = {"eos_token": "stop", "stop_sequence": "stop", "eos": "stop"}
_BREAKS = {"abort": "cancelled", "error": "engine_error"}


class _Usage(msgspec.Struct):
    prompt_tokens: Count = 0
    completion_tokens: Count | None = None


class _Choice(msgspec.Struct):
    index: Index = 0
    delta: dict[str, msgspec.Raw] | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = NULL


class _Token(msgspec.Struct):
    text: str | None = None
    special: bool = False


class _Details(msgspec.Struct):
    finish_reason: str | int | None = None
    generated_tokens: Count | None = None
    input_length: Count | None = None


class _Record(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None


class _Content(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


_record = msgspec.json.Decoder(_Record)
_logprobs = msgspec.json.Decoder(_Content)
_json = msgspec.json.Encoder()


class Records:
    """Reads the records of one response, and counts tokens if the server does not report usage."""

    def __init__(self, choices: int) -> None:
        """Expect a response of `choices` choices."""
        self._counted = [0] * choices
        self._choices = Choices(choices)
        self._prompt_tokens = 0
        self._total: int | None = None
        self._started = False

    @property
    def finished(self) -> bool:
        """Whether every choice has finished."""
        return not self._choices.unfinished

    @property
    def usage(self) -> Usage:
        """The token counts: the server's total if it reported one, else the sum of the deltas."""
        total = sum(self._counted) if self._total is None else self._total
        return Usage(prompt_tokens=self._prompt_tokens, completion_tokens=total)

    def read(self, payload: bytes) -> Iterator[Event]:
        """Yield the events of one JSON object.

        Raises:
            ValueError: the object is not a record.
            RecursionError: the object is nested too deeply.

        """
        record = _record.decode(payload)
        if record.choices is None and record.token is None and record.usage is None:
            raise ValueError("neither a chunk nor a token")
        if record.usage is not None:
            self._prompt_tokens = max(self._prompt_tokens, record.usage.prompt_tokens)
        if not self._started:
            self._started = True
            yield Start(prompt_tokens=self._prompt_tokens)
        if record.token is not None:
            yield from self._token(record.token, record)
            return
        choices = record.choices or []
        reported = record.usage.completion_tokens if record.usage is not None else None
        if not choices and reported is not None:
            self._total = reported
        for choice in choices:
            self._choices.check(choice.index)
            # Usage beside one choice is that choice's count so far; beside several it is ambiguous.
            yield from self._choice(choice, reported if len(choices) == 1 else None)

    def _choice(self, choice: _Choice, so_far: int | None) -> Iterator[Event]:
        delta = {
            name: value
            for name, value in (choice.delta or {}).items()
            if name != "role" and bytes(value) not in _EMPTY
        }
        if (calls := delta.get("tool_calls")) is not None and bytes(calls).startswith(b"{"):
            delta["tool_calls"] = msgspec.Raw(b"[" + bytes(calls) + b"]")
        logprobs = choice.logprobs if bytes(choice.logprobs).startswith(b"{") else NULL
        tokens = self._tokens(choice.index, so_far, bool(delta), logprobs)
        if delta or tokens or logprobs is not NULL:
            yield Delta(
                delta=msgspec.Raw(_json.encode(delta)),
                index=choice.index,
                tokens=tokens,
                logprobs=logprobs,
            )
        if choice.finish_reason is not None:
            yield from self._finish(choice.index, choice.finish_reason)

    def _tokens(
        self, index: int, so_far: int | None, has_delta: bool, logprobs: msgspec.Raw
    ) -> int:
        """Return the number of tokens in a chunk, from the best source that there is.

        That is the running count, or the log probabilities, or one token for any delta.
        """
        if so_far is not None:
            tokens = max(0, so_far - self._counted[index])
        elif logprobs is not NULL:
            tokens = len(_logprobs.decode(logprobs).content or ())
        else:
            tokens = int(has_delta)
        self._counted[index] += tokens
        return tokens

    def _token(self, token: _Token, record: _Record) -> Iterator[Event]:
        self._counted[0] += 1
        # An end-of-sequence token is counted, but its text is not part of the response.
        text = {} if token.special or not token.text else {"content": token.text}
        yield Delta(delta=msgspec.Raw(_json.encode(text)), tokens=1)
        details = record.details
        if details is not None:
            self._prompt_tokens = max(self._prompt_tokens, details.input_length or 0)
            generated = details.generated_tokens
            # LMI's vLLM handler reports one token more than there were.
            if generated is not None and generated != self._counted[0] + 1:
                self._total = generated
        reason = details.finish_reason if details is not None else None
        if reason is not None or record.generated_text is not None:
            yield from self._finish(0, str(reason) if reason is not None else "stop")

    def _finish(self, index: int, reason: str) -> Iterator[Event]:
        if reason in _BREAKS:
            yield Failure(code=_BREAKS[reason], message="The model ended the response early.")
        elif index in self._choices.unfinished:
            self._choices.unfinished.discard(index)
            yield Finish(finish_reason=_FINISHES.get(reason, reason), index=index)
