"""The way of one answer: the container's bytes in, the client's out, and what happens when nothing comes.

States: WAITING, in which a failure still has its own HTTP status, until there is something to send or
`FIRST_EVENT_WAIT` is over; then STARTED, in which a failure is said in the answer's own form.
"""

import asyncio
import time

from starlette.types import Send

from lambda_fn import limits
from lambda_fn.dialects import Decoder
from lambda_fn.encode import Encoder
from lambda_fn.errors import NO_RETRY, APIError, Cancelled, UpstreamTimeout, from_container
from lambda_fn.events import GARBLED, Event, Failure
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.settle import Tally
from lambda_fn.transform import Transform


class AnswerBroken(Exception):
    """An answer has begun and cannot be ended in its own form: whoever carries it must break the connection."""


class Answer:
    """One answer."""

    def __init__(
        self,
        invocation: Invocation,
        decoder: Decoder,
        encoder: Encoder,
        tally: Tally,
        *,
        seconds: float,
        transform: Transform | None = None,
        heartbeat: float | None = None,
    ) -> None:
        """Join the two ends; the answer must be over in `seconds`, and not silent for longer than `heartbeat`."""
        self._heartbeat = limits.HEARTBEAT if heartbeat is None else heartbeat
        self._transform = transform
        self._invocation = invocation
        self._decoder = decoder
        self._encoder = encoder
        self._tally = tally
        self._seconds = seconds
        self._quiet_at = time.monotonic() + min(limits.FIRST_EVENT_WAIT, self._heartbeat)
        self._started = False
        self._deadline: asyncio.Timeout | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """End the answer now, wherever it stands, because its end was asked for. One that is over stays as it is."""
        if self._deadline is not None and not self._deadline.expired() and not self._tally.complete:
            self._cancelled = self._tally.cancelled = True
            self._deadline.reschedule(asyncio.get_running_loop().time())

    async def send(self, send: Send) -> None:
        """Send the whole answer, or what there is of it and an error.

        Raises:
            APIError: it failed before anything was sent.
            AnswerBroken: it failed later, and its form cannot say so.

        """
        try:
            # sending counts too: a client that does not read must not hold the model, or the settlement, for ever
            async with asyncio.timeout(self._seconds) as self._deadline:
                try:
                    await self._carry(send)
                finally:
                    self._deadline = None
        except TimeoutError:
            await self._fail(send, self._late())
        except APIError as error:
            await self._fail(send, error)

    def _late(self) -> APIError:
        if self._cancelled:
            return Cancelled("This answer was cancelled by the operator of this service.", headers=NO_RETRY)
        return UpstreamTimeout("The answer took longer than it may, and was ended.")

    async def _carry(self, send: Send) -> None:
        read, count, encode = self._invocation.read, self._tally.count, self._encoder.encode
        complete = False
        while not complete:
            received = await read(self._quiet_at)
            events: list[Event] = []
            data = b""
            if received is not None:
                events = self._decoder.feed(received) if received else self._decoder.close()
                count(events)
                complete = self._tally.complete
                if complete:
                    self._invocation.over = True
                data = encode(events if self._transform is None else self._transform.feed(events))
            if not data and time.monotonic() >= self._quiet_at:
                data = self._encoder.heartbeat()
            if data or complete:
                await self._write(send, data, more=not complete)  # the end goes out with the last data
            if events and type(failure := events[-1]) is Failure:
                self._invocation.over = failure.code != GARBLED
                raise from_container(failure.code, failure.message)

    async def _fail(self, send: Send, error: APIError) -> None:
        if not self._started:
            raise error from None
        ending = self._encoder.fail(error)
        if ending is None:
            raise AnswerBroken(error.code) from None
        try:
            async with asyncio.timeout(limits.LAST_WRITE_TIMEOUT):
                await self._write(send, ending, more=False)
        except TimeoutError:
            raise AnswerBroken(error.code) from None

    async def _write(self, send: Send, data: bytes, *, more: bool) -> None:
        if not self._started:
            self._started = True
            headers = [
                (b"content-type", self._encoder.content_type.encode()),
                (b"cache-control", b"no-cache, no-transform"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            data = self._encoder.begin() + data
        await send({"type": "http.response.body", "body": data, "more_body": more})
        self._quiet_at = time.monotonic() + self._heartbeat
