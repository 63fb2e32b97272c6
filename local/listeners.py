"""Loopback listeners of the data planes."""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from local.cloud import named, owner

# The maximum number of connections that wait to be accepted. The kernel may reduce it to its limit.
_BACKLOG = 4096
_IDLE_S = 3630.0


class PortTaken(Exception):
    """A requested port is in use, or may not be used. The message is a sentence."""


def bind(ports: Sequence[int]) -> socket.socket:
    """Return a listening socket on the first free port of `ports`; 0 is any free port.

    Raises PortTaken if none is free.
    """
    return listen(hold(ports))


def hold(ports: Sequence[int]) -> socket.socket:
    """Return a socket that keeps the first free port of `ports`, as `bind` does.

    Connections to the port are refused until the socket is given to `listen`.

    Raises PortTaken if none is free.
    """
    first: OSError | None = None
    for port in ports:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # With this option, a port can be used at once while the kernel remembers its last
        # connections. Until a socket listens, Linux would give it to others.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        except OSError as error:
            sock.close()
            first = first or error
            continue
        sock.setblocking(False)
        return sock
    if first is not None and first.errno == errno.EACCES:
        raise PortTaken(f"only the administrator may use port {ports[0]}; choose one over 1023")
    if (folder := owner(ports[0])) is not None:
        raise PortTaken(
            f"port {ports[0]} is in use by {named(folder)}; stop it by `sluice down` there, or "
            "choose another port"
        )
    raise PortTaken(
        f"port {ports[0]} is in use by {holder(ports[0])}; end that program, or choose another port"
    )


def listen(sock: socket.socket) -> socket.socket:
    """Begin to listen on a socket of `hold`; return it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.listen(_BACKLOG)
    return sock


def holder(port: int) -> str:
    """Return which program listens on a port, as far as this user may know.

    Linux lists listening sockets in /proc/net/tcp and /proc/net/tcp6 with their inodes ("proc(5)");
    a process that has one of them has it as an open file.
    """
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
                    inodes.add(f"socket:[{fields[9]}]")
    for file in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        with contextlib.suppress(OSError):
            if str(file.readlink()) in inodes:
                process = file.parents[1]
                command = (process / "cmdline").read_bytes().split(b"\0")
                program, *more = [word.decode(errors="replace") for word in command[:3]]
                words = " ".join([program.rpartition("/")[2], *more]).strip()
                return f"process {process.name} ({words})"
    return f"another program (`lsof -i :{port}` may name it), perhaps another local cloud"


async def serve(
    app: web.Application,
    sock: socket.socket,
    *,
    cancel: bool,
    read_limit: int = 2**16,
    longest_head: int = 8190,
    idle_s: float = _IDLE_S,
    tls: ssl.SSLContext | None = None,
) -> web.AppRunner:
    """Serve an application on a socket; return its runner.

    With `cancel`, a client that disconnects cancels its handler. A request line or header of more
    than `longest_head` bytes is a 400. A connection that is idle for `idle_s` seconds is closed.
    """
    runner = web.AppRunner(
        app,
        access_log=None,
        handler_cancellation=cancel,
        shutdown_timeout=1,
        read_bufsize=read_limit,
        handle_signals=False,
        keepalive_timeout=idle_s,
        max_line_size=longest_head,
        max_field_size=longest_head,
        auto_decompress=False,  # a body is passed on unchanged, as AWS does
    )
    await runner.setup()
    await web.SockSite(runner, sock, backlog=_BACKLOG, ssl_context=tls).start()
    return runner


class LateBody(Exception):
    """The body of a request did not come in time."""


def late(request: web.BaseRequest) -> bool:
    """Return whether reading the request's body has failed with `LateBody`."""
    return isinstance(request.content.exception(), LateBody)


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Fail = Callable[[int], web.Response]


class _Connection(web.RequestHandler):
    """One connection, on which failures have the form of the service."""

    __slots__ = ("_fail",)

    def __init__(self, server: web.Server, fail: Fail, **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._fail = fail

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Log the failure, and return the service's own response for it.

        Bytes that are not HTTP are a 400, a body that is late a 408, a header that is too long a
        413, and an exception of the handler a 502.
        """
        if isinstance(exc, LateBody):
            status = 408
        super().handle_error(request, status, exc, message)  # raises if a response has begun
        response = self._fail(
            413
            if isinstance(exc, LineTooLong)
            else 502
            if status >= 500
            else 408
            if status == 408
            else 400
        )
        response.force_close()
        return response


class _Server(web.Server):
    """A server of one handler for all paths and methods."""

    def __init__(
        self,
        handler: Callable[[Any], Awaitable[web.StreamResponse]],
        fail: Fail,
        *,
        cancel: bool,
        **options: Any,
    ) -> None:
        def request(
            message: Any, payload: Any, protocol: Any, writer: Any, task: Any
        ) -> web.Request:
            loop = asyncio.get_running_loop()
            return web.Request(message, payload, protocol, writer, task, loop, client_max_size=0)

        super().__init__(handler, request_factory=request, handler_cancellation=cancel, **options)
        self._fail = fail
        self._options = options

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, self._fail, access_log=None, **self._options)


def target_of(request: web.Request) -> tuple[str, str]:
    """Return path and query string of a request as they were sent, also of an absolute address."""
    target = request.raw_path
    if not target.startswith("/"):
        _, _, behind = target.partition("://")
        target = "/" + behind.partition("/")[2]
    path, _, query = target.partition("?")
    return path, query


async def serve_plane(
    handler: Handler,
    sock: socket.socket,
    *,
    fail: Fail,
    cancel: bool,
    longest_head: int,
    body_s: float,
    tls: ssl.SSLContext | None = None,
) -> web.ServerRunner:
    """Serve all requests with one handler, as AWS's front ends do; return the runner.

    `fail` makes the service's response for a status, if the handler fails or never sees the
    request. A body that has not come whole after `body_s` seconds raises LateBody where it is read.
    The other arguments are those of `serve`.
    """

    def expire(request: web.Request) -> None:
        if not request.content.is_eof():
            request.content.set_exception(LateBody())

    async def handle(request: web.Request) -> web.StreamResponse:
        # AWS ignores any other expectation, and passes none on.
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # no response has begun
        if not request.body_exists or request.content.is_eof():
            return await handler(request)
        timer = asyncio.get_running_loop().call_later(body_s, expire, request)
        try:
            return await handler(request)
        finally:
            timer.cancel()

    server = _Server(
        handle,
        fail,
        cancel=cancel,
        keepalive_timeout=_IDLE_S,
        max_line_size=longest_head,
        max_field_size=longest_head,
        auto_decompress=False,  # a body is passed on unchanged, as AWS does
    )
    runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=1)
    await runner.setup()
    await web.SockSite(runner, sock, backlog=_BACKLOG, ssl_context=tls).start()
    return runner
