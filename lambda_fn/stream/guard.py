"""Has a guardrail judge an answer while it is streamed.

    sync    a window of text is held until it was judged
    async   text goes out at once; the answer ends when a window of it was judged badly

A window is a sentence, or its first `WINDOW` characters if it is longer. A call also has the text
before the window, so that a sentence is judged in its context. That costs nothing, because a call
is billed by 1,000 characters. One window is judged at a time. In both modes an answer finishes only
after all of it was judged.

All choices of a blocked answer finish with `content_filter`. If the guardrail does not judge, the
response fails, or goes on if the deployment says so.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from lambda_fn.aws.guardrails import GuardrailUnavailable
from lambda_fn.encode.base import read_delta
from lambda_fn.errors import Unavailable
from lambda_fn.events import Delta, End, Event, Failure, Finish, Usage
from lambda_fn.log import log
from lambda_fn.schema.messages import Assistant, Message, ToolCall, plain

WINDOW = 250
"""The length of a window without an end of a sentence, in characters."""
WHOLE_WINDOW = 10_000
"""The length of a window of an answer that is not streamed: no client waits for its parts."""
_LEAST = 40
"""The least length of a window that ends with a sentence."""
_CONTEXT = 700
_ENDS = (".", "!", "?", "。", "\uff01", "\uff1f", "\n")

Mode = Literal["sync", "async"]
Judge = Callable[[str], Awaitable[frozenset[str]]]
"""Returns why a text is blocked. Raises GuardrailUnavailable."""


class Guard:
    """The guard of one response. `flagged` gets the reasons for which the guardrail intervened.

    Without `blocks`, it only asks, and all text goes on at once. `failed` tells whether it could
    not judge some of it.
    """

    def __init__(
        self,
        judge: Judge,
        choices: int,
        *,
        mode: Mode = "sync",
        whole: bool = False,
        fail_open: bool = False,
        request_id: str = "",
        flagged: set[str] | None = None,
        blocks: bool = True,
    ) -> None:
        """Begin with nothing held.

        Args:
            judge: Judges a text.
            choices: The number of choices.
            mode: See the module.
            whole: Whether the client gets the answer in one body.
            fail_open: Whether text goes on that could not be judged.
            request_id: Names the request in the log.
            flagged: Gets the reasons.
            blocks: Whether the guardrail's verdict ends the response.

        """
        self._judge = judge
        self._blocks = blocks
        self.flagged = set() if flagged is None else flagged
        self.failed = False
        self._sync = blocks and mode == "sync"
        self._size = WHOLE_WINDOW if whole else WINDOW
        self._fail_open = fail_open
        self._request_id = request_id
        self._unfinished = set(range(choices))
        self._queue: list[Event] = []
        """Events that wait: for a verdict, or for the end of their window."""
        self._read = 0  # the number of them whose text is in the window
        self._window: dict[int, str] = {}
        self._context: dict[int, str] = {}
        self._asking: asyncio.Task[None] | None = None
        self._judging = 0  # the number of queued events that the verdict is about
        self._waiter: asyncio.Future[None] | None = None
        self._error: Unavailable | None = None
        self.blocked: frozenset[str] = frozenset()
        self.on_verdict: Callable[[], None] | None = None
        """Called when a verdict must end the response and no call waits for it."""

    @property
    def is_waiting(self) -> bool:
        """Whether a verdict decides what comes next, so that no more events may be taken."""
        if self.blocked or self._error is not None:
            return True
        return self._asking is not None and (self._sync or bool(self._queue))

    def take(self, events: list[Event]) -> list[Event]:
        """Return the events that may go out now, in order, and hold the others."""
        self._queue += events
        return self._advance()

    async def wait(self, until: float) -> None:
        """Wait for the verdict, at most until then. It returns early if `wake` is called."""
        if self._asking is None:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        await asyncio.wait(
            {self._asking, self._waiter}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED
        )

    def wake(self) -> None:
        """End a `wait`."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def release(self) -> list[Event]:
        """Return the events that a verdict lets out, or the end of the response.

        Raises:
            Unavailable: the guardrail did not judge.

        """
        if self._error is not None:
            raise self._error
        if self.blocked:
            return self._end()
        if self._asking is not None:
            return []
        return self._advance()

    def close(self) -> None:
        """Stop asking."""
        if self._asking is not None:
            self._asking.cancel()

    def _advance(self) -> list[Event]:
        """Return what may go out, and ask for a verdict if a window is complete."""
        out: list[Event] = []
        if self._judging and self._asking is None:
            out, self._queue = self._queue[: self._judging], self._queue[self._judging :]
            self._judging = 0
        if self._asking is None or not self._sync:
            self._fill(out)
        self._unfinished -= {event.index for event in out if type(event) is Finish}
        return out

    def _fill(self, out: list[Event]) -> None:
        while self._read < len(self._queue):
            event = self._queue[self._read]
            if type(event) is Failure:  # what was not judged does not go out
                out += [it for it in self._queue[: self._read] if type(it) is not Delta]
                out.append(event)
                self._queue, self._read = [], 0
                return
            if type(event) is Delta:
                self._add(event)
                if not self._sync:
                    del self._queue[self._read]
                    out.append(event)
                    if self._is_full() and self._asking is None:
                        self._ask()
                    continue
                self._read += 1
                if self._is_full():
                    self._ask()
                    return
                if self._window:
                    continue
            elif type(event) in (Finish, Usage, End) and (self._window or self._asking):
                if self._asking is None:
                    self._ask()
                return
            else:
                self._read += 1
            if not self._window:  # nothing before it waits
                out += self._queue[: self._read]
                self._queue, self._read = self._queue[self._read :], 0

    def _add(self, event: Delta) -> None:
        fields = read_delta(event)
        texts = [fields.reasoning_content, fields.content, fields.refusal]
        for call in fields.tool_calls or ():
            texts += [call.function.name, call.function.arguments]
        if text := "".join(filter(None, texts)):
            self._window[event.index] = self._window.get(event.index, "") + text

    def _is_full(self) -> bool:
        size = sum(map(len, self._window.values()))
        return size >= self._size or (
            self._size == WINDOW
            and size >= _LEAST
            and any(text.rstrip(" ").endswith(_ENDS) for text in self._window.values())
        )

    def _ask(self) -> None:
        window, self._window = self._window, {}
        if self._sync:
            self._judging, self._read = self._read, 0
        self._asking = asyncio.create_task(self._run(window))

    async def _run(self, window: dict[int, str]) -> None:
        try:
            for index, text in window.items():
                context = self._context.get(index, "")
                self._context[index] = (context + text)[-_CONTEXT:]
                reasons = await self._judge(context + text)
                self.flagged |= reasons
                if self._blocks:
                    self.blocked |= reasons
        except GuardrailUnavailable as error:
            log("guardrail_unavailable", request_id=self._request_id, reason=str(error))
            self.failed = True
            if self._blocks and not self._fail_open:
                self._error = unavailable()
        except Exception as error:  # noqa: BLE001 (the boundary: what was not judged does not go out)
            log("fault", request_id=self._request_id, error=type(error).__name__)
            self._error = unavailable()
        finally:
            self._asking = None
        if self.blocked:
            log("blocked", request_id=self._request_id, by="guardrail", source="output")
        if self.blocked or self._error is not None:
            if self.on_verdict is not None:
                self.on_verdict()
        elif not self._sync and self._is_full():  # it became full in the meantime
            self._ask()

    def _end(self) -> list[Event]:
        """Return the end of a response that is blocked."""
        usage: list[Event] = [event for event in self._queue if type(event) is Usage]
        ending: list[Event] = [
            Finish("content_filter", index) for index in sorted(self._unfinished)
        ]
        self._queue = []
        return [*ending, *usage, End()]


def unavailable() -> Unavailable:
    """Return the error for a text that no guardrail judged."""
    return Unavailable(
        "The guardrail that checks texts did not answer, so this one was not let through. Send the "
        "request again.",
        code="guardrail_unavailable",
    )


def texts_of(messages: Sequence[Message]) -> tuple[list[str], list[str]]:
    """Return all texts of a conversation: the earlier ones, and those of its last turn.

    The last turn came after the assistant's. Messages of the assistant at the end are no turn:
    their caller has written them, as the beginning of the answer. So they belong to the last turn.
    """
    earlier, texts = list[str](), list[str]()
    was_said = False
    for message in messages:
        if type(message) is Assistant:
            texts += _texts_of_assistant(message)
            was_said = True
            continue
        if was_said:
            earlier += texts
            texts, was_said = [], False
        content = getattr(message, "content", None)
        parts = [content] if isinstance(content, str) else content
        texts += [it if isinstance(it, str) else getattr(it, "text", "") for it in parts or ()]
    return earlier, texts


def joined_of(messages: Sequence[Message]) -> list[str]:
    """Return the text of each message that has several parts, joined as our container joins it."""
    found = [getattr(message, "content", None) for message in messages]
    return [
        "".join(getattr(part, "text", None) or "" for part in parts)
        for parts in found
        if isinstance(parts, list) and len(parts) > 1
    ]


def names_of(messages: Sequence[Message]) -> list[str]:
    """Return the names that chat templates may show: of speakers, and of calls with their ids."""
    found: list[str | None] = []
    for message in messages:
        found += (getattr(message, "name", None), getattr(message, "tool_call_id", None))
        for call in getattr(message, "tool_calls", None) or ():
            found += (call.id, call.function.name)
    return [name for name in found if name]


def _texts_of_assistant(message: Assistant) -> list[str]:
    """Return all texts of a message that the model gets."""
    said = plain(message)
    assert isinstance(said, Assistant)  # noqa: S101 (it stays the assistant's)
    calls = [call.function.arguments for call in said.tool_calls or () if type(call) is ToolCall]
    found = [said.reasoning_content, said.content, *calls]
    return [text for text in found if text and isinstance(text, str)]
