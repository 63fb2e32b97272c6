"""Streams that run all the time, so that some run through each change of a deployment."""

import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_STREAMS = 3
_TOKENS, _RATE = 20, 4.0
"""A stream takes five seconds."""


@dataclass
class Traffic:
    """Streams and short requests with one key, until the context ends."""

    origin: str
    key: str
    model: str
    authority: str
    whole: int = 0
    """Streams that ended well."""
    broken: list[str] = field(default_factory=list)
    """Streams that ended otherwise after their first byte."""
    statuses: dict[int, int] = field(default_factory=dict)
    """The statuses of all requests."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Begin, and wait until a stream runs."""
        begun = threading.Event()
        for number in range(_STREAMS + 1):
            work = self._short if number == _STREAMS else self._long
            self._threads.append(threading.Thread(target=work, args=(begun,), daemon=True))
        for thread in self._threads:
            thread.start()
        begun.wait(120)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Send no more streams, and wait for those that run."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _long(self, begun: threading.Event) -> None:
        while not self._stop.is_set():
            script = {"repeat": " w{i}", "count": _TOKENS, "rate": _RATE}
            status, body = self._ask(json.dumps(script), begun)
            if status != 200:
                continue
            if b"[DONE]" in body and body.count(b" w") == _TOKENS:
                self.whole += 1
            else:
                self.broken.append(body[-300:].decode(errors="replace"))

    def _short(self, _: threading.Event) -> None:
        while not self._stop.is_set():
            self._ask(json.dumps({"say": ["x"]}), threading.Event())

    def _ask(self, prompt: str, begun: threading.Event) -> tuple[int, bytes]:
        parts = urlsplit(self.origin)
        trust = ssl.create_default_context(cafile=self.authority)
        connection = http.client.HTTPSConnection(parts.netloc, timeout=120, context=trust)
        body = {
            "model": self.model,
            "stream": True,
            "messages": [{"role": "user", "content": prompt}],
        }
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        received, status = b"", 0
        try:
            connection.request("POST", "/v1/chat/completions", json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            status = answer.status
            while piece := answer.read1(65_536):
                received += piece
                if status == 200:
                    begun.set()
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        finally:
            connection.close()
            self.statuses[status] = self.statuses.get(status, 0) + 1
        return status, received
