"""One request of OpenAI's WebSocket mode, over a socket of its own.

A real client has several answers on one socket. Here each request has its own, so that a client
that leaves or reads slowly touches no other answer, and so that the handshake is a part of what is
measured.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from cli.commands.load.connection import CONNECT_S, Receiver, Unreachable
from cli.commands.load.event_stream import MAX_EVENT, Malformed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

_ENDS = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})


class _Named(msgspec.Struct):
    id: str = ""


class _Event(msgspec.Struct):
    type: str = ""
    status: int = 500
    response: _Named | None = None


_event = msgspec.json.Decoder(_Event)


def session() -> aiohttp.ClientSession:
    """Return what opens sockets: as many as are wanted, without cookies or proxies."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
    )


class Conversation:
    """One request on a socket, and the events of its answer.

    An error before the response has begun is told to the receiver as a status, as over HTTP.
    """

    def __init__(self, request: bytes, receiver: Receiver, *, pace: int | None = None) -> None:
        """Take the message to send. With a `pace`, read so many bytes a second."""
        self._request = request
        self._receiver = receiver
        self._pace = pace
        self._over = False
        self._has_begun = False
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._closing: asyncio.Task[Any] | None = None

    def leave(self) -> None:
        """Close the socket, as a client that leaves. The receiver gets no further call."""
        self._over = True
        if self._socket is not None and self._closing is None:
            self._closing = asyncio.ensure_future(self._socket.close())

    async def run(
        self,
        opener: aiohttp.ClientSession,
        url: str,
        key: str,
        context: ssl.SSLContext | None,
        connected: Callable[[], None],
    ) -> None:
        """Open the socket, send the request, and read up to the end of its answer.

        `connected` is called when the socket is open. Raises Unreachable.
        """
        try:
            socket = await self._open(opener, url, key, context)
        except aiohttp.WSServerHandshakeError as refused:
            self._receiver.status(refused.status, {})
            self._receiver.ended(whole=True)
            return
        self._socket = socket
        async with socket:
            connected()
            if not self._over:
                try:
                    await socket.send_str(self._request.decode())
                except (ConnectionError, aiohttp.ClientError):
                    self._end(whole=False)
            while not self._over:
                await self._receive(socket)
        if self._closing is not None:
            await self._closing

    async def _open(
        self, opener: aiohttp.ClientSession, url: str, key: str, context: ssl.SSLContext | None
    ) -> aiohttp.ClientWebSocketResponse:
        headers = {"user-agent": "sluice-load"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        try:
            async with asyncio.timeout(CONNECT_S):
                return await opener.ws_connect(
                    url, headers=headers, ssl=context or True, max_msg_size=MAX_EVENT
                )
        except TimeoutError:
            raise Unreachable("timeout") from None
        except aiohttp.ClientConnectorCertificateError:
            raise Unreachable("certificate") from None
        except aiohttp.ClientConnectorDNSError:
            raise Unreachable("no such host") from None
        except aiohttp.ClientConnectorError as error:
            number = error.os_error.errno
            raise Unreachable(os.strerror(number).lower() if number else "tls") from None
        except aiohttp.WSServerHandshakeError:
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise Unreachable(type(error).__name__) from None

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        message = await socket.receive()
        if self._over:
            return
        if message.type is aiohttp.WSMsgType.BINARY:
            self._end(whole=True, malformed="not_text")
            return
        if message.type is not aiohttp.WSMsgType.TEXT:
            self._end(whole=False)
            return
        data = message.data.encode()
        try:
            is_end = self._hand_on(data)
        except Malformed as error:
            self._end(whole=True, malformed=str(error))
            return
        if is_end:
            self._end(whole=True)
        elif self._pace is not None and not self._over:
            await asyncio.sleep(len(data) / self._pace)

    def _hand_on(self, data: bytes) -> bool:
        """Pass an event to the receiver. Return whether it is the last. Raises Malformed."""
        try:
            event = _event.decode(data)
        except (msgspec.DecodeError, RecursionError):
            raise Malformed("event_not_readable") from None
        if not self._has_begun:
            self._has_begun = True
            if event.type == "error":
                self._receiver.status(event.status, {})
            else:
                name = "" if event.response is None else event.response.id.removeprefix("resp_")
                found = {"x-request-id": f"req_{name}", "x-sluice-stream": f"resp_{name}"}
                self._receiver.status(200, found if name else {})
        self._receiver.data(data)
        return event.type in _ENDS

    def _end(self, *, whole: bool, malformed: str = "") -> None:
        if not self._over:
            self._over = True
            self._receiver.ended(whole=whole, malformed=malformed)
