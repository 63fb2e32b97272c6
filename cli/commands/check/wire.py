"""Send requests by plain `http.client`, and record when each piece of the response arrived."""

import http.client
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from cli.lib.project import why


class NoResponse(Exception):
    """The address cannot be reached, or the connection broke before a status came."""


@dataclass
class Response:
    """A response.

    `pieces` are bytes with the seconds since the request was sent. `cut` means that the body has no
    proper end.
    """

    status: int
    headers: Mapping[str, str]
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    cut: bool = False

    @property
    def body(self) -> bytes:
        """Return the whole body."""
        return b"".join(data for _, data in self.pieces)

    def json(self) -> Any:
        """Return the body's JSON value; None if it is not JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None


@dataclass(frozen=True)
class Server:
    """An API's base URL, the key for it, and how many seconds its responses may take."""

    base: str
    key: str
    timeout: float = 60.0
    authority: str | None = None
    """The file of the only certificate authority to trust."""

    @cached_property
    def _trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def send(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Response:
        """Send a request and return its response, read piece by piece as it arrives.

        Raises:
            NoResponse: the server sent no status.

        """
        parts = urlsplit(self.base)
        host, port, timeout = parts.hostname or "", parts.port, self.timeout
        connection = (
            http.client.HTTPSConnection(host, port, timeout=timeout, context=self._trust)
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=timeout)
        )
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {
            "authorization": f"Bearer {self.key if key is None else key}",
            "content-type": "application/json",
            # Clients send this header. A stream must not be compressed even then.
            "accept-encoding": "gzip",
            "user-agent": "sluice-check",
        }
        started = time.monotonic()
        try:
            connection.request(method, f"{parts.path.rstrip('/')}{path}", data, headers)
            received = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NoResponse(why(error)) from None
        response = Response(
            received.status, {name.lower(): value for name, value in received.getheaders()}
        )
        try:
            while piece := received.read1(65_536):
                response.pieces.append((time.monotonic() - started, piece))
        except (OSError, http.client.HTTPException):
            response.cut = True
        finally:
            connection.close()
        return response


@dataclass
class Stream:
    """A parsed stream: its events, and the faults in its framing.

    Each event is its time in seconds and its data.
    """

    events: list[tuple[float, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def chunks(self) -> list[Any]:
        """Return the events' JSON objects, without `[DONE]`."""
        return [json.loads(data) for _, data in self.events if data != "[DONE]"]


def parse_stream(response: Response) -> Stream:
    """Parse server-sent events strictly. What some client cannot read is a fault."""
    stream = Stream()
    rest = b""
    for when, piece in response.pieces:
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            _parse_event(block, when, stream)
    if rest.strip():
        stream.faults.append("the last event has no blank line behind it")
    return stream


def _parse_event(block: bytes, when: float, stream: Stream) -> None:
    try:
        text = block.decode()
    except UnicodeDecodeError:
        stream.faults.append("an event is not UTF-8")
        return
    for line in text.split("\n"):
        if not line.startswith("data: "):
            name = line.partition(":")[0]
            fault = (
                "a comment"
                if name == ""
                else f"a line '{name}:'"
                if name != "data"
                else "'data:' without its space"
            )
            stream.faults.append(f"{fault}, which some clients cannot read")
            continue
        data = line.removeprefix("data: ")
        if data != "[DONE]":
            try:
                json.loads(data)
            except (ValueError, RecursionError):
                stream.faults.append("the data of an event is not JSON")
                continue
        stream.events.append((when, data))
