"""A webhook on this machine."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Queue
from typing import Any


class Receiver:
    """A webhook on this machine, which takes what it gets."""

    def __init__(self) -> None:
        """Listen."""
        self.calls: Queue[tuple[dict[str, str], bytes]] = Queue()
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                size = int(self.headers["content-length"])
                calls.put((dict(self.headers.items()), self.rfile.read(size)))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """The address of the webhook."""
        return f"http://localhost:{self.server.server_address[1]}/hook"

    def told_of(self, response_id: str) -> tuple[dict[str, str], bytes]:
        """Return the next call, which must be about this response."""
        headers, body = self.calls.get(timeout=120)
        assert json.loads(body)["data"] == {"id": response_id}
        return headers, body


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Yield a webhook that listens."""
    receiver = Receiver()
    try:
        yield receiver
    finally:
        receiver.server.shutdown()
        receiver.thread.join()
        receiver.server.server_close()
