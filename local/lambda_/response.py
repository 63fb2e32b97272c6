"""A function's answer on its way from the Runtime API to the caller, with bounded memory."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from local.lambda_.prelude import Head

# More than this of an answer is not held: the function's connection is not read until the caller has taken some.
_HIGH_WATER = 256 * 1024
_LOW_WATER = 64 * 1024


class FunctionError(Exception):
    """The invocation failed: before the answer had begun it becomes a status, after that the connection is cut."""

    def __init__(self, kind: str, message: str, payload: bytes = b"") -> None:
        """`kind` is Lambda's error type, such as Runtime.ExitError; `payload` the runtime's own error object."""
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.payload = payload


class Response:
    """One answer: written by the Runtime API's connection, read by the URL's handler."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self.over = False
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ready = asyncio.Event()
        self._error: FunctionError | None = None
        self._discarded = False
        self._resume: Callable[[], None] | None = None

    @property
    def error(self) -> FunctionError | None:
        """Why it failed, if it did."""
        return self._error

    @property
    def started(self) -> bool:
        """Whether the caller has been told a status, or a failure instead."""
        return self.head.done()

    def taken(self, kill: Callable[[], None]) -> None:
        """An environment has the invocation; `kill` ends its process, which only faults on demand do."""

    def begin(self, head: Head) -> None:
        """Status and headers."""
        if not self.head.done():
            self.head.set_result(head)

    def feed(self, data: bytes, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Part of the body. `pause` is called if that is enough for now, `resume` when there is room again."""
        if self._discarded or not data:
            return
        self._chunks.append(data)
        self._size += len(data)
        self._ready.set()
        if self._size > _HIGH_WATER and self._resume is None:
            self._resume = resume
            pause()

    def finish(self) -> None:
        """The whole answer is here."""
        self.over = True
        self._ready.set()

    def fail(self, error: FunctionError) -> None:
        """No more will come. What came before is still delivered."""
        if self.over:
            return
        self._error, self.over = error, True
        if not self.head.done():
            self.head.set_exception(error)
            # The caller may be gone; that nobody asks is no defect.
            self.head.exception()
        self._ready.set()

    def discard(self) -> None:
        """The caller is gone: whatever comes is read and dropped, because the function is not told."""
        self._discarded = True
        self._chunks.clear()
        self._size = 0
        self._let_more_in()

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, joined as far as it is here. Raises FunctionError when it was cut off."""
        while True:
            await self._ready.wait()
            if self._chunks:
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
                self._size = 0
                self._let_more_in()
                yield data
            elif self.over:
                if self._error is not None:
                    raise self._error
                return
            else:
                self._ready.clear()

    def _let_more_in(self) -> None:
        if self._resume is not None and self._size <= _LOW_WATER:
            resume, self._resume = self._resume, None
            with contextlib.suppress(RuntimeError):  # the connection may be closed by now
                resume()


@dataclass
class Invocation:
    """One event and its answer. `deadline`, in milliseconds since 1970, is set when an environment takes it.

    `raw` is for callers that want the function's result as it is, not as the answer of a URL.
    """

    id: str
    event: bytes
    deadline: int
    arn: str
    trace_id: str
    raw: bool = False
    response: Response = field(default_factory=Response)
