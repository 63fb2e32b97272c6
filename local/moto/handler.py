"""The HTTP side of the control plane's server: requests of connections that stay open.

werkzeug closes a connection after each request, and waits 10 ms for more of its body, because it
does not know where the body ends. Here the end is known, and what the application leaves of a body
is read before the response is sent. So the gateway's connections are kept, with their threads.
"""

import io
import logging
from collections.abc import Callable, Iterable
from typing import Any

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.wsgi import LimitedStream

from local import bodies

log = logging.getLogger("local.moto")

_BODILESS = (204, 304)
_PIECE = 65_536


class Handler(MotoRequestHandler):  # type: ignore[misc] # moto is untyped here
    """Answers the requests of one connection, and logs failures only."""

    protocol_version = "HTTP/1.1"
    # Requests and responses are small. Without this, each would wait for the delayed ACK of the
    # other side.
    disable_nagle_algorithm = True
    # A small response is sent by one call.
    wbufsize = 65_536

    def run_wsgi(self) -> None:
        """Answer one request. A failure of the application is a 500."""
        environ = self.environ = self.make_environ()
        if "wsgi.input_terminated" not in environ:
            length = int(environ.get("CONTENT_LENGTH") or 0)
            environ["wsgi.input"] = LimitedStream(environ["wsgi.input"], length)
        source = environ["wsgi.input"]
        try:
            status, headers, content = _called(self.server.app, environ)
        except ConnectionError:
            raise
        except Exception:
            log.exception("%s %s failed", self.command, self.path)
            status, headers, content = "500 Internal Server Error", [], b""
        if not _drained(source):
            self.close_connection = True
        self._answer(status, headers, content)

    def _answer(self, status: str, headers: list[tuple[str, str]], content: bytes) -> None:
        code, _, reason = status.partition(" ")
        self.send_response(int(code), reason)
        for name, value in headers:
            self.send_header(name, value)
        known = {name.lower() for name, _ in headers}
        if "content-length" not in known and int(code) not in _BODILESS:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing about a request that succeeded."""


def _drained(source: io.RawIOBase) -> bool:
    """Read the rest of a body. Return whether it ended within the length of the longest one."""
    return any(not source.read(_PIECE) for _ in range(bodies.LARGEST // _PIECE))


def _called(
    app: Callable[..., Iterable[bytes]], environ: dict[str, Any]
) -> tuple[str, list[tuple[str, str]], bytes]:
    """Call a WSGI application. Return status, headers and body of its response."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []
    written = bytearray()

    def start_response(
        status: str, headers: list[tuple[str, str]], _: object = None
    ) -> Callable[[bytes], None]:
        begun[:] = [(status, headers)]
        return written.extend

    parts = app(environ, start_response)
    try:
        for part in parts:
            written += part
    finally:
        if close := getattr(parts, "close", None):
            close()
    [(status, headers)] = begun
    return status, headers, bytes(written)
