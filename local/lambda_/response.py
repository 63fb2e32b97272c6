"""A function's response on its way from the Runtime API to the caller, with bounded memory."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from local.lambda_.prelude import Head

# Above this many bytes, the function's connection is not read until the caller has taken some.
_HIGH_WATER = 256 * 1024
_LOW_WATER = 64 * 1024


class FunctionError(Exception):
    """The invocation failed.

    Before the response has begun, the caller gets a status. After that, the connection is cut.
    """

    def __init__(self, kind: str, message: str, payload: bytes = b"") -> None:
        """`kind` is Lambda's error type, such as Runtime.ExitError.

        `payload` is the error object of the runtime.
        """
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.payload = payload

    def as_json(self) -> dict[str, str]:
        """Return what Lambda itself says of a failure that has no error object."""
        return {"errorType": self.kind, "errorMessage": str(self).partition(": ")[2]}


class Response:
    """One response: the Runtime API's connection writes it, the URL's handler reads it."""

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
        """The error that ended the response, or None."""
        return self._error

    @property
    def started(self) -> bool:
        """Whether the caller has received a status, or a failure instead."""
        return self.head.done()

    def taken(self, kill: Callable[[], None]) -> None:
        """Note that an environment has taken the invocation.

        `kill` ends its process, for faults on demand.
        """

    def begin(self, head: Head) -> None:
        """Receive status and headers."""
        if not self.head.done():
            self.head.set_result(head)

    def feed(self, data: bytes, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Receive a part of the body.

        It calls `pause` when it holds enough bytes, and `resume` when it has room again.
        """
        if self._discarded or not data:
            return
        self._chunks.append(data)
        self._size += len(data)
        self._ready.set()
        if self._size > _HIGH_WATER and self._resume is None:
            self._resume = resume
            pause()

    def finish(self) -> None:
        """Receive the end of the response."""
        self.over = True
        self._ready.set()

    def fail(self, error: FunctionError) -> None:
        """End the response with an error. Bytes that came before are still delivered."""
        if self.over:
            return
        self._error, self.over = error, True
        if not self.head.done():
            self.head.set_exception(error)
            # The caller may be gone, and then the exception is never retrieved.
            self.head.exception()
        self._ready.set()

    def discard(self) -> None:
        """Read and drop the rest for a caller that is gone. The function does not notice."""
        self._discarded = True
        self._chunks.clear()
        self._size = 0
        self._let_more_in()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body; each chunk has all bytes that have arrived.

        Raises FunctionError if the response ended with an error.
        """
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
    """One event and its response.

    `deadline`, in milliseconds since 1970, is set when an environment takes it. `raw` is for
    callers that want the function's result unchanged, not as the response of a URL.
    """

    id: str
    event: bytes
    deadline: int
    arn: str
    trace_id: str
    raw: bool = False
    response: Response = field(default_factory=Response)
