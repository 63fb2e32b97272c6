"""Limits the time of each send of a socket, with one timer for all of them."""

import asyncio
from types import TracebackType

from lambda_fn import limits


class Patience:
    """A context in which one send waits. It raises TimeoutError after `limits.SOCKET_PATIENCE`.

    The sends must not overlap. One timer looks whether the send that waits is too old, because a
    timer for each event (`asyncio.timeout`) costs more than the rest of the way to the server.
    """

    def __init__(self) -> None:
        """Begin without a send."""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._since = 0.0
        self._cancels = 0
        """How often the task was cancelled before its send."""
        self._is_over = False

    def close(self) -> None:
        """Stop the timer. No send may follow."""
        if self._timer is not None:
            self._timer.cancel()

    def __enter__(self) -> None:
        """Begin a send of the current task."""
        task = self._task = asyncio.current_task()
        assert task is not None  # noqa: S101 (within a coroutine)
        self._cancels = task.cancelling()
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(limits.SOCKET_PATIENCE, self._look)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the send. Raises TimeoutError if it was too long."""
        task, self._task = self._task, None
        if self._is_over and task is not None:
            self._is_over = False
            if task.uncancel() <= self._cancels and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _look(self) -> None:
        """Cancel the send that waits if it is too old, or look again when it would be."""
        self._timer = None
        if self._task is None:
            return  # the next send starts the timer
        ends = self._since + limits.SOCKET_PATIENCE
        if ends > self._loop.time():
            self._timer = self._loop.call_at(ends, self._look)
        else:
            self._is_over = True
            self._task.cancel()
