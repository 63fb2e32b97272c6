"""Loopback listeners of the data planes."""

import socket
import ssl
from collections.abc import Sequence

from aiohttp import web

# The maximum number of connections that wait to be accepted. The kernel may reduce it to its limit.
_BACKLOG = 4096


class PortTaken(Exception):
    """The requested port is in use."""


def bind(ports: Sequence[int]) -> socket.socket:
    """Return a listening socket on the first free port of `ports`; 0 is any free port.

    Raises PortTaken if none is free.
    """
    for port in ports:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # With this option, a port can be used at once while the kernel remembers its last
        # connections.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen(_BACKLOG)
        except OSError:
            sock.close()
            continue
        sock.setblocking(False)
        return sock
    raise PortTaken(f"port {ports[0]} is in use")


async def serve(
    app: web.Application,
    sock: socket.socket,
    *,
    cancel: bool,
    read_limit: int = 2**16,
    longest_head: int = 8190,
    idle_s: float = 3630.0,
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
