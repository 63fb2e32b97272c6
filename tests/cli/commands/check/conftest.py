"""Fixtures: an API that breaks the rules of `sluice check`."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from local.cloudfront import certificate


def chunk(content: str | None = None, **fields: Any) -> bytes:
    """Return a chunk of a careless server: it has no role first and no finish reason."""
    choice = {"index": 0, "delta": {} if content is None else {"content": content}}
    return (
        b"data: "
        + json.dumps({"id": "x", "object": "chunk", "choices": [choice], **fields}).encode()
        + b"\n\n"
    )


class Careless(BaseHTTPRequestHandler):
    """A careless API.

    Its errors have a shape of their own, and it sends a stream only when it is complete.
    """

    answers: ClassVar[list[bytes]] = [
        b"event: message\n",
        *[chunk(f" word{number}") for number in range(9)],
        b"\n",
    ]
    protocol_version = "HTTP/1.0"

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """List a model."""
        self._send(200, b'{"object": "list", "data": [{"id": "m"}]}')

    def do_POST(self) -> None:
        """Answer any request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            request = json.loads(body)
        except ValueError:
            self._send(422, b'{"detail": [{"loc": ["body"], "msg": "Input should be valid JSON"}]}')
            return
        if request.get("stream"):
            self._send(200, b"".join(self.answers), "text/plain")
        else:
            self._send(200, b'{"id": "x", "choices": [{"index": 0, "message": {"content": "hi"}}]}')

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the base class)
        """Print nothing."""


@pytest.fixture
def careless() -> Iterator[str]:
    """Serve the careless API."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


@pytest.fixture
def careless_tls(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Serve the careless API over TLS. Yield its URL, and the file of its own authority."""
    made = certificate.ensure(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # of clients that refuse
    server.socket = made.context().wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}/v1", str(made.authority)
    server.shutdown()
    server.server_close()
