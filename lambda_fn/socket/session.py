"""One open socket over ASGI. It carries out the commands of the protocol core.

A task reads messages, and each response has a task of its own. They send one event at a time, in
turns, so a lane with many events delays no other lane by more than one. A client that does not read
stops its own lanes only: their models are read as fast as it reads. After `limits.SOCKET_PATIENCE`
it counts as gone.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from starlette.types import Receive, Send

from lambda_fn.auth import Caller
from lambda_fn.errors import APIError, internal_error
from lambda_fn.log import log
from lambda_fn.socket.cache import Cache
from lambda_fn.socket.core import Close, Command, Connection, Start, Stop
from lambda_fn.socket.core import Send as SendEvent
from lambda_fn.socket.lane import ClientLeft, Ending, LaneCarrier, LaneSink
from lambda_fn.socket.messages import Create, Resume, error_event
from lambda_fn.socket.patience import Patience
from lambda_fn.socket.service import Service
from lambda_fn.socket.turn import Turn
from lambda_fn.stream.sinks import ResponseBroken, interrupted


class Session:
    """One socket, from its acceptance to its end."""

    def __init__(
        self,
        service: Service,
        caller: Caller,
        headers: Mapping[str, str],
        receive: Receive,
        send: Send,
    ) -> None:
        """Take an accepted socket. `headers` are those of its handshake."""
        self.caller = caller
        self.headers = headers
        self._service = service
        self._receive = receive
        self._send = send
        self._sending = asyncio.Lock()  # first come, first served: lanes take turns
        self._patience = Patience()
        self._gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connection = Connection(time.monotonic(), max_message=service.settings.max_body)
        self._cache = Cache()
        self._stops: dict[str, Callable[[], None]] = {}
        self._carriers: set[LaneCarrier] = set()
        self._tasks: set[asyncio.Future[object]] = set()
        self._started = time.monotonic()
        self._responses = 0
        self._code = 1006
        """The close code that was sent: that of a broken connection if none was."""

    async def run(self) -> None:
        """Serve the socket until it ends, and until everything that it began has ended."""
        try:
            code = await self._read()
        finally:
            self._leave()
            while self._tasks:
                await asyncio.wait(set(self._tasks))
            self._patience.close()
        log(
            "socket",
            key=self.caller.key_id,
            code=code,
            responses=self._responses,
            seconds=round(time.monotonic() - self._started),
        )

    async def _read(self) -> int:
        """Take messages until the socket ends, and return its close code."""
        receiving = asyncio.ensure_future(self._receive())
        try:
            while not self._connection.closed and not self._gone.done():
                left = self._connection.deadline - time.monotonic()
                waited: set[asyncio.Future[Any]] = {receiving, self._gone}
                done, _ = await asyncio.wait(
                    waited,
                    timeout=None if left == float("inf") else max(0.0, left),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if not done:
                    await self._do(self._connection.elapsed(time.monotonic()))
                if receiving not in done:
                    continue
                message = receiving.result()
                if message["type"] == "websocket.disconnect":
                    return int(message.get("code") or 1005)
                text = message.get("text")
                piece: str | bytes = message["bytes"] if text is None else text
                receiving = asyncio.ensure_future(self._receive())
                await self._do(self._connection.receive(piece, time.monotonic()))
        except ClientLeft:
            pass
        finally:
            receiving.cancel()
        return self._code

    async def _do(self, commands: list[Command]) -> None:
        """Carry out the protocol's commands. Raises ClientLeft."""
        for command in commands:
            if isinstance(command, SendEvent):
                await self.send(command.data)
            elif isinstance(command, Start):
                self._begin(command.name, command.request)
            elif isinstance(command, Stop):
                self._stops[command.name]()
            else:
                await self._close(command)

    async def send(self, data: bytes) -> None:
        """Send an event when it is its turn. Raises ClientLeft."""
        await self._put({"type": "websocket.send", "text": data.decode()})

    async def _put(self, message: dict[str, object]) -> None:
        async with self._sending:
            if self._gone.done():
                raise ClientLeft
            try:
                with self._patience:
                    await self._send(message)
            except Exception:  # noqa: BLE001 (each server has its own error for a client that left)
                self._leave()
                raise ClientLeft from None

    async def _close(self, command: Close) -> None:
        self._code = command.code
        await self._put({"type": "websocket.close", "code": command.code, "reason": command.reason})
        self._leave()

    def _leave(self) -> None:
        """Note that the client has left, and cancel what does not go on without it."""
        if not self._gone.done():
            self._gone.set_result(None)
        self._connection.leave()
        for carrier in self._carriers:
            carrier.leave()

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background. The end of the socket waits for it."""
        task: asyncio.Future[object] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _begin(self, name: str, request: Create | Resume) -> None:
        self._responses += 1
        if isinstance(request, Resume):
            self._connection.begun(name, request.response_id)
            self._stops[name] = lambda: self.in_background(self._cancel_kept(request))
            self.in_background(self._resume(name, request))
            return
        turn = Turn(request, self._cache, self._service.options)
        carrier = LaneCarrier(self, request.body, request.stream_id)

        def end(ending: Ending, event: bytes) -> None:
            # Before the client gets the event: its next request may go on from the response.
            if ending == "answered":
                turn.answered(carrier.response_id, event)
            elif not carrier.is_cancelled:
                turn.failed()

        carrier.sink.on_start = lambda: self._connection.begun(name, carrier.response_id)
        carrier.sink.on_end = end
        self._stops[name] = carrier.cancel
        self._carriers.add(carrier)
        self.in_background(self._create(name, request, turn, carrier))

    async def _create(self, name: str, request: Create, turn: Turn, carrier: LaneCarrier) -> None:
        work = self._service.answer if request.generate else self._service.warm_up
        try:
            error = await self._error_of(work(carrier, turn))
        finally:
            self._carriers.discard(carrier)
        if error is not None and not carrier.is_admitted:
            self._service.count(error)
        if error is not None and not carrier.is_cancelled:
            turn.failed()
        await self._end(name, request.stream_id, error)

    async def _resume(self, name: str, request: Resume) -> None:
        sink = LaneSink(self, request.stream_id)
        error = await self._error_of(self._service.resume(request, sink, self.caller))
        if error is not None:
            self._service.count(error)
        await self._end(name, request.stream_id, error)

    async def _error_of(self, work: Coroutine[None, None, None]) -> APIError | None:
        """Do the work of a lane, and return the error that the client must still get, if any."""
        try:
            await work
        except APIError as error:
            return error
        except ResponseBroken:
            return interrupted()
        except ClientLeft:
            return None
        except Exception as fault:  # noqa: BLE001 (the boundary: other lanes go on)
            log("fault", error=type(fault).__name__)
            return internal_error()
        return None

    async def _end(self, name: str, stream_id: str | None, error: APIError | None) -> None:
        """Send the client an error, and note that its lane is free."""
        try:
            if error is not None:
                await self.send(error_event(error, stream_id))
            commands = self._connection.ended(name, time.monotonic())
            del self._stops[name]  # no cancel can name it any more
            await self._do(commands)
        except ClientLeft:
            return

    async def _cancel_kept(self, request: Resume) -> None:
        """Cancel a response that a lane resumes. Its own last event tells the client."""
        try:
            await self._service.cancel(request.response_id, self.caller)
        except APIError as error:
            try:
                await self.send(error_event(error, request.stream_id))
            except ClientLeft:
                return
