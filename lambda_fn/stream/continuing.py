"""Mid-stream failover: a response whose container ends is continued by another run.

The next run gets the text until then as the beginning of its answer, and goes on after it. The
client sees one stream. The id of a later run is the id of the request, a dot and the number of the
run.

`Continuing` stands between the producer and the runs, and is an invocation and a decoder to it. The
producer reads events of one response, and needs to know nothing of the runs:

    producer <- Continuing <- run 1: Invocation, Decoder
                           <- run 2: Invocation, Decoder

White space at the end of the text is not sent to the next run, because chat templates remove it. If
the next run begins with this white space, it is left out. So no character is repeated or lost.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.dialects import Decoder
from lambda_fn.encode.base import read_delta
from lambda_fn.errors import APIError, UpstreamFailed
from lambda_fn.events import Delta, End, Ended, Event, Failure, Finish, Start, Usage
from lambda_fn.log import log
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.usage_counter import UsageCounter

_CUT = frozenset({"cut", "engine_error"})
"""Codes of a `Failure` after which another container may go on."""


class Partial(msgspec.Struct, frozen=True):
    """What a response had when it was cut: its text, its reasoning, and their tokens."""

    text: str
    reasoning: str
    tokens: int


class Runs:
    """How a response is continued: what `Continuing` needs of the pipeline."""

    def __init__(
        self,
        *,
        begin: Callable[[str, Partial], tuple[Invocation, Decoder]],
        cancel: Callable[[str], Awaitable[object]],
        reserve: Callable[[Partial], Awaitable[bool]],
        most: int,
        reasons: Callable[[Partial], bool],
        stored: bool,
    ) -> None:
        """Keep them.

        Args:
            begin: Returns the invocation and the decoder of a run, from its id and what it
                continues.
            cancel: Cancels a run by its id.
            reserve: Reserves the prompt of a run, and returns whether that was granted.
            most: The maximum of completion tokens.
            reasons: Returns whether the reasoning has not ended.
            stored: Whether the response is logged.

        """
        self.begin = begin
        self.cancel = cancel
        self.reserve = reserve
        self.most = most
        self.reasons = reasons
        self.stored = stored


class Continuing:
    """The runs of one response, as one invocation and its decoder."""

    def __init__(
        self, invocation: Invocation, decoder: Decoder, counter: UsageCounter, runs: Runs
    ) -> None:
        """Begin with the first run. `counter` learns the tokens of further prompts."""
        self._run = invocation
        self._decoder = decoder
        self._counter = counter
        self._runs = runs
        self._id = invocation.request_id
        self._number = 1
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._tokens = 0
        self._reasoned = 0
        self._prompt = 0
        """The tokens of the first prompt, 0 if they are not known."""
        self._before = 0
        """The tokens before this run."""
        self._read_again = 0
        """The tokens of this run's prompt as the counter has them; 0 in the first run."""
        self._space = ""
        """White space that this run may repeat."""
        self._finished = self._counted = False
        self._broken: APIError | None = None
        self._resuming: asyncio.Task[bytes] | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._rest: list[Event] | None = None
        """The end of the response, if no further run is needed for it."""

    @property
    def request_id(self) -> str:
        """The id of the run, by which the container knows it."""
        return self._run.request_id

    @property
    def left(self) -> bool:
        """Whether a container may still be at work on the response."""
        return self._run.left

    @property
    def over(self) -> bool:
        """Whether the container has ended its work."""
        return self._run.over

    @over.setter
    def over(self, over: bool) -> None:
        self._run.over = over

    async def __aenter__(self) -> Self:
        """Send the first run."""
        await self._run.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the run, and give up a continuation that is being prepared."""
        if self._resuming is not None:
            self._resuming.cancel()
            await asyncio.wait([self._resuming])
        await self._run.__aexit__(kind, error, traceback)

    def wake(self) -> None:
        """Wake a pending `read`."""
        self._run.wake()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self, until: float, take: Callable[[bytes], bool] | None = None) -> bytes | None:
        """Return the next bytes of a run, as `Invocation.read`. None while the next run is begun.

        Nothing is handed to `take`, because any bytes may be the last ones of a run.

        Raises:
            APIError: the run failed, and cannot be continued.

        """
        if self._rest is not None:
            return b""
        if self._broken is not None:
            if self._resuming is None:
                self._resuming = asyncio.create_task(self._resume(self._broken))
            return await self._resumed(self._resuming, until)
        try:
            return await self._run.read(until)
        except APIError as error:
            if error.code != "upstream_cut" or not self._tokens:
                raise
            self._cut(error)
            return None

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that bytes of the run complete."""
        return self._taken(self._decoder.feed(data))

    def close(self) -> list[Event]:
        """Return the events that end the response, or none if it is to be continued."""
        if self._rest is not None:
            return self._rest
        return self._taken(self._decoder.close())

    def cut(self, ended: Ended) -> list[Event]:
        """Return the events that end the response here. See `Decoder.cut`."""
        return self._taken(self._decoder.cut(ended))

    def _taken(self, events: list[Event]) -> list[Event]:
        """Return the events of a run as those of the whole response."""
        taken: list[Event] = []
        for event in events:
            if type(event) is Delta:
                taken.append(self._delta(event))
            elif type(event) is Start:
                if self._number == 1:
                    self._prompt = event.prompt_tokens
                    taken.append(event)
                else:
                    self._count_prompt(event.prompt_tokens)
            elif type(event) is Usage:
                self._counted = True
                taken.append(self._usage(event))
            elif type(event) is Failure and event.code in _CUT and self._tokens:
                self._cut(
                    UpstreamFailed("The model's response was truncated.", code="upstream_cut")
                )
            else:
                self._finished = self._finished or type(event) is Finish
                taken.append(event)
        return taken

    def _delta(self, event: Delta) -> Delta:
        fields = read_delta(event)
        self._tokens += event.tokens
        if self._number > 1 and not self._read_again:
            self._count_prompt(self._prompt + self._before)  # the server may still tell it
        if fields.reasoning_content:
            self._reasoning.append(fields.reasoning_content)
            self._reasoned += event.tokens
        text = fields.content or ""
        if text and self._space:
            text, event = self._without_space(text, event)
        self._text.append(text)
        return event

    def _without_space(self, text: str, event: Delta) -> tuple[str, Delta]:
        """Return a delta's text without the white space that the run before has said."""
        same = 0
        while same < min(len(text), len(self._space)) and text[same] == self._space[same]:
            same += 1
        self._space = self._space[same:] if same == len(text) else ""
        if not same:
            return text, event
        delta = {**msgspec.json.decode(event.delta), "content": text[same:]}
        raw = msgspec.Raw(msgspec.json.encode(delta))
        return text[same:], msgspec.structs.replace(event, delta=raw)

    def _usage(self, event: Usage) -> Usage:
        """Return the usage that the client gets: the first prompt and all completion tokens."""
        if self._number == 1:
            return event
        self._count_prompt(event.prompt_tokens)
        prompt = self._prompt or max(0, event.prompt_tokens - self._before)
        return Usage(
            prompt,
            self._before + event.completion_tokens,
            reasoning_tokens=self._reasoned,
        )

    def _count_prompt(self, tokens: int) -> None:
        self._counter.continued_prompt_tokens += tokens - self._read_again
        self._read_again = tokens

    @property
    def _partial(self) -> Partial:
        return Partial("".join(self._text), "".join(self._reasoning), self._tokens)

    def _cut(self, error: APIError) -> None:
        """Note that the run has ended before its response."""
        usage = Usage(self._prompt, self._tokens, reasoning_tokens=self._reasoned)
        if self._finished:
            self._rest = [End()] if self._counted else [usage, End()]
        elif self._tokens >= self._runs.most:
            self._rest = [Finish("length"), usage, End()]
        else:
            self._broken = error

    async def _resumed(self, resuming: "asyncio.Task[bytes]", until: float) -> bytes | None:
        """Wait for the next run's first bytes. Return None if they did not come in time."""
        self._waiter = asyncio.get_running_loop().create_future()
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        waiting: set[asyncio.Future[object]] = {resuming, self._waiter}  # type: ignore[arg-type] # read only
        await asyncio.wait(waiting, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not resuming.done():
            return None
        self._resuming = self._broken = None
        return resuming.result()

    async def _resume(self, error: APIError) -> bytes:
        """End the run, begin the next one, and return its first bytes.

        Raises:
            APIError: the response cannot be continued. The error says how its client can go on.

        """
        partial = self._partial
        if self._number > limits.CONTINUATIONS:
            raise self._lost(error, f"after {self._number} containers had ended")
        if self._runs.reasons(partial):
            raise self._lost(error, "because its reasoning had not ended")
        await self._run.__aexit__(type(error), error, None)
        await self._runs.cancel(self._run.request_id)
        self._run.over = True
        try:
            granted = await self._runs.reserve(partial)
        except MeterUnavailable:
            raise self._lost(error, "because the usage meter did not answer") from None
        if not granted:
            raise self._lost(error, "because the key's budget has too little left") from None
        self._number += 1
        log("continued", request_id=self._id, run=self._number, tokens=self._tokens)
        self._before, self._read_again = self._tokens, 0
        self._space = partial.text[len(partial.text.rstrip()) :]
        deadline = time.monotonic() + limits.CONTINUE_PATIENCE
        while True:
            self._run, self._decoder = self._runs.begin(f"{self._id}.{self._number}", partial)
            await self._run.__aenter__()
            try:
                data: bytes | None = None
                while data is None:
                    data = await self._run.read(math.inf)
                return data
            except APIError as refused:
                await self._run.__aexit__(type(refused), refused, None)
                if refused.status < 429 or time.monotonic() >= deadline:
                    raise self._lost(error, "because no container took it on") from None
                await self._runs.cancel(self._run.request_id)
            await asyncio.sleep(limits.CONTINUE_PAUSE)

    def _lost(self, error: APIError, why: str) -> APIError:
        """Return the error of a response that cannot be continued: it says how to go on."""
        where = f" It is kept as response {self._id}." if self._runs.stored else ""
        return UpstreamFailed(
            f"The model's response was truncated, and was not continued, {why}. Its text until "
            f"here is valid.{where} To go on, send the conversation again with this text as the "
            "last message, of the role 'assistant', and with 'continue_final_message'.",
            code=error.code,
        )
