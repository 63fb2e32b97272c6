"""Loopback listeners of the data planes."""

import contextlib
import errno
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

# The maximum of connections that wait to be accepted. The kernel reduces it to its own limit.
_BACKLOG = 4096


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
        # connections. Linux would then give it to others as long as nobody listens.
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
    raise PortTaken(
        f"port {ports[0]} is in use by {_holder(ports[0])}; end that program, or choose another port"
    )


def listen(sock: socket.socket) -> socket.socket:
    """Begin to listen on a socket of `hold`; return it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.listen(_BACKLOG)
    return sock


def _holder(port: int) -> str:
    """Say which program listens on a port, as far as this user may know.

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
