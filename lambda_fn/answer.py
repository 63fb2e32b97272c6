"""The way of one answer: the container's bytes in, the client's out, and what happens when nothing comes.

States: WAITING, in which a failure still has its own HTTP status, until there is something to send or
`FIRST_EVENT_WAIT` is over; then STARTED, in which a failure is said in the answer's own form.
"""

import asyncio
import time

from starlette.types import Message, Send

from lambda_fn import limits
from lambda_fn.decode import Decoder
from lambda_fn.encode import Encoder
from lambda_fn.errors import APIError, UpstreamTimeout, from_container
from lambda_fn.events import Event, Failure
from lambda_fn.invoke import Invocation
from lambda_fn.settle import Tally
from lambda_fn.transform import Buffer

_END: Message = {"type": "http.response.body", "body": b"", "more_body": False}


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
        transform: Buffer | None = None,
    ) -> None:
        """Join the two ends; the answer must be over in `seconds`."""
        self._transform = transform
        self._invocation = invocation
        self._decoder = decoder
        self._encoder = encoder
        self._tally = tally
        self._seconds = seconds
        self._quiet_at = time.monotonic() + limits.FIRST_EVENT_WAIT
        self._started = False

    async def send(self, send: Send) -> None:
        """Send the whole answer, or what there is of it and an error.

        Raises:
            APIError: it failed before anything was sent.
            AnswerBroken: it failed later, and its form cannot say so.

        """
        try:
            # sending counts too: a client that does not read must not hold the model, or the settlement, for ever
            async with asyncio.timeout(self._seconds):
                await self._carry(send)
                await send(_END)
        except TimeoutError:
            await self._fail(send, UpstreamTimeout("The answer took longer than it may, and was ended."))
        except APIError as error:
            await self._fail(send, error)

    async def _carry(self, send: Send) -> None:
        while not self._tally.complete:
            events = await self._next()
            data = self._encoder.encode(events if self._transform is None else self._transform.feed(events))
            if not data and time.monotonic() >= self._quiet_at:
                data = self._encoder.heartbeat()
            if data:
                await self._write(send, data)
            if events and isinstance(failure := events[-1], Failure):
                raise from_container(failure.code, failure.message)

    async def _fail(self, send: Send, error: APIError) -> None:
        if not self._started:
            raise error from None
        ending = self._encoder.fail(error)
        if ending is None:
            raise AnswerBroken(error.error_code) from None
        try:
            async with asyncio.timeout(limits.LAST_WRITE):
                await self._write(send, ending)
                await send(_END)
        except TimeoutError:
            raise AnswerBroken(error.error_code) from None

    async def _next(self) -> list[Event]:
        """Give the next events, or none when the silence towards the client has lasted long enough.

        Raises:
            APIError: the call failed.

        """
        while True:
            wait = self._quiet_at - time.monotonic()
            if wait <= 0:
                return []
            data = await self._invocation.read(wait)
            if data is not None:
                events = self._decoder.feed(data) if data else self._decoder.close()
                self._tally.count(events)
                if events:
                    return events

    async def _write(self, send: Send, data: bytes) -> None:
        if not self._started:
            self._started = True
            headers = [
                (b"content-type", self._encoder.content_type.encode()),
                (b"cache-control", b"no-cache, no-transform"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            data = self._encoder.begin() + data
        await send({"type": "http.response.body", "body": data, "more_body": True})
        self._quiet_at = time.monotonic() + limits.HEARTBEAT
