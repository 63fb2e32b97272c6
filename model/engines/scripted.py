"""The scripted engine, for tests that need exact answers and timing.

It follows the script in the request (`model.engines.script`). One piece of text is one token. A
step samples one token for every choice, and all choices have the same text.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Any

from model.engines.script import Script, StopFilter, parse, words
from model.errors import BY_CODE, ContextLengthError, InvalidRequestError
from model.events import Delta, Event, Finish, FinishReason, Start, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from model.schema import ChatRequest
    from model.settings import Settings

# Steps sampled ahead of a slow reader; then sampling waits for the reader.
BUFFERED_STEPS = 256
KILLED = 137  # the exit code of a container that was killed


class ScriptedEngine:
    """Implements `model.engines.base.Engine`."""

    def __init__(self, settings: Settings) -> None:
        self.healthy = False
        self.active = 0
        self.steps = None
        self.cache_usage = None
        self.vocabulary = 0
        self._context_tokens = settings.context_tokens

    async def metrics(self) -> bytes:
        """Return no metrics."""
        return b""

    async def start(self) -> None:
        """Do nothing: there are no weights."""
        self.healthy = True

    async def close(self) -> None:
        """Do nothing: there are no resources."""
        self.healthy = False

    async def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return one number for each character."""
        return [ord(character) for character in text]

    async def detokenize(self, tokens: list[int]) -> str:
        """Return the characters with these numbers."""
        if any(token > sys.maxunicode or 0xD800 <= token < 0xE000 for token in tokens):
            raise InvalidRequestError("tokens: there is no such token", "tokens")
        return "".join(map(chr, tokens))

    async def generate(self, request: ChatRequest) -> AsyncGenerator[list[Event], None]:
        """Yield the scripted events."""
        script = parse(next((m.text for m in reversed(request.messages) if m.role == "user"), ""))
        prompt_tokens = script.prompt_tokens
        if prompt_tokens is None:
            prompt_tokens = sum(len(words(message.text)) for message in request.messages)
        room = self._context_tokens - prompt_tokens
        if room <= 0:
            raise ContextLengthError.of(prompt_tokens, self._context_tokens)
        self.active += 1
        try:
            yield [Start(prompt_tokens)]
            answer = _Answer(request, script, min(room, request.limit or room))
            if request.continue_final_message:
                answer.go_on(request.messages[-1].text)
                script.die_after = script.fail_after = None
            clock = _Clock(script)
            while True:
                await _misbehave(script, answer.sampled, clock)
                if answer.reason is not None:
                    break
                await clock.wait()
                batch: list[Event] = []
                while answer.reason is None and (sampled_at := clock.take()) is not None:
                    batch += answer.step(sampled_at)
                    if answer.sampled in (script.fail_after, script.stall_after, script.die_after):
                        break
                if batch:
                    yield batch
            yield [
                *answer.rest(),
                *(Finish(index, answer.reason, answer.stop) for index in range(request.n)),
                Usage(prompt_tokens, answer.sampled * request.n),
            ]
        finally:
            self.active -= 1


async def _misbehave(script: Script, sampled: int, clock: _Clock) -> None:
    if sampled == script.stall_after:
        await asyncio.sleep(script.seconds)
        clock.delay(script.seconds)
        script.stall_after = None
    if sampled == script.die_after:
        os._exit(KILLED)
    if sampled == script.fail_after:
        raise BY_CODE[script.code](f"scripted failure after {sampled} tokens")


class _Clock:
    """The times at which steps are due.

    Without a rate, a step is due whenever a reader waits for one.
    """

    def __init__(self, script: Script) -> None:
        self._period = None if script.rate is None else 1 / script.rate
        self._now = asyncio.get_running_loop().time
        self._next = self._now() + script.first_after
        self._ahead = 0

    def delay(self, seconds: float) -> None:
        """Postpone the next step by `seconds`, in which nothing was sampled."""
        self._next = max(self._next, self._next + seconds)

    async def wait(self) -> None:
        """Wait until a step is due."""
        now = self._now()
        if self._ahead >= BUFFERED_STEPS:
            self._next = max(self._next, now)  # the buffer was full: sampling had stopped
        self._ahead = 0
        await asyncio.sleep(max(0.0, self._next - now))

    def take(self) -> int | None:
        """Return the Unix time in ns at which the next step was sampled; None if it is not due."""
        late = self._now() - self._next
        if self._ahead >= BUFFERED_STEPS or (self._ahead and self._period is None):
            return None
        if late < 0 and self._ahead:
            return None
        self._ahead += 1
        self._next = self._now() if self._period is None else self._next + self._period
        return time.time_ns() - max(0, int(late * 1e9))


class _Answer:
    """The text of all choices, token by token."""

    def __init__(self, request: ChatRequest, script: Script, limit: int) -> None:
        self.sampled = 0
        self.reason: FinishReason | None = None
        self._tokens = script.tokens()
        self._script = script
        self._limit = limit
        self._choices = range(request.n)
        self._stop = StopFilter(request.stops)
        self._logprobs: list[Mapping[str, Any]] | None = [] if request.logprobs else None
        self._unsaid = 0  # the number of tokens whose text is held back
        self._set_reason()

    def go_on(self, begun: str) -> None:
        """Leave out the tokens of an answer that has begun, and what one of them has too much."""
        del self._tokens[: len(self._script.think)]
        self._script.think = []
        while self._tokens and isinstance(token := self._tokens[0], str) and begun:
            if not token.startswith(begun):
                begun = begun.removeprefix(token)
                self._tokens.pop(0)
            else:
                self._tokens[0], begun = token.removeprefix(begun), ""
        if self._tokens and not self._tokens[0]:
            self._tokens.pop(0)
        self._set_reason()

    @property
    def stop(self) -> str | None:
        """The stop string that ended the text."""
        return self._stop.found

    def _set_reason(self) -> None:
        if self._stop.stopped:
            self.reason = "stop"
        elif self.sampled >= len(self._tokens):
            self.reason = self._script.reason
        elif self.sampled >= self._limit:
            self.reason = "length"

    def step(self, sampled_at: int) -> list[Event]:
        """Sample the next token; return its events."""
        token = self._tokens[self.sampled]
        self.sampled += 1
        self._unsaid += 1
        if isinstance(token, str):
            text = f" {sampled_at}" if self._script.stamp else token
            if self._logprobs is not None:
                entry = {
                    "token": text,
                    "logprob": -0.25,
                    "bytes": list(text.encode()),
                    "top_logprobs": [],
                }
                self._logprobs.append(entry)
            if self.sampled <= len(self._script.think):
                events = self._delta("", reasoning=text)
            else:
                events = self._delta(self._stop.feed(text))
        else:
            events = self._delta(self._stop.rest(), (token,))
        self._set_reason()
        return events

    def rest(self) -> list[Event]:
        """Return the events of the text that was held back, with the count of its tokens."""
        return self._delta(self._stop.rest(), last=True)

    def _delta(
        self,
        text: str,
        calls: tuple[Mapping[str, Any], ...] = (),
        *,
        reasoning: str = "",
        last: bool = False,
    ) -> list[Event]:
        if not (text or calls or reasoning or (last and self._unsaid)):
            return []
        tokens, self._unsaid = self._unsaid, 0
        logprobs = None
        if self._logprobs is not None:
            logprobs, self._logprobs = tuple(self._logprobs), []
        return [Delta(index, tokens, text, reasoning, calls, logprobs) for index in self._choices]
