"""Requests over plain `http.client`, with the time at which every piece of the answer arrived."""

import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


class NoAnswer(Exception):
    """There is none: the address cannot be reached, or the connection broke before a status came."""


@dataclass
class Answer:
    """What came. `pieces` are bytes with the seconds since the request was sent; `cut`: the body has no proper end."""

    status: int
    headers: Mapping[str, str]
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    cut: bool = False

    @property
    def body(self) -> bytes:
        """All of it."""
        return b"".join(data for _, data in self.pieces)

    def json(self) -> Any:
        """Give the body, read; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Server:
    """Where the API is, and how it is asked."""

    base: str
    key: str
    timeout: float = 60.0

    def send(self, method: str, path: str, body: Any = None, *, key: str | None = None) -> Answer:
        """Send a request and read its answer, as it comes.

        Raises:
            NoAnswer: there is none.

        """
        parts = urlsplit(self.base)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=self.timeout)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        headers = {
            "authorization": f"Bearer {self.key if key is None else key}",
            "content-type": "application/json",
            "accept-encoding": "gzip",  # as clients send it; a stream must not be compressed for all that
            "user-agent": "sluice-check",
        }
        started = time.monotonic()
        try:
            connection.request(method, f"{parts.path.rstrip('/')}{path}", data, headers)
            response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NoAnswer(str(error) or type(error).__name__) from None
        answer = Answer(response.status, {name.lower(): value for name, value in response.getheaders()})
        try:
            while piece := response.read1(65_536):
                answer.pieces.append((time.monotonic() - started, piece))
        except (OSError, http.client.HTTPException):
            answer.cut = True
        finally:
            connection.close()
        return answer


@dataclass
class Stream:
    """A streamed answer, taken apart: the data of its events with their times, and all that is wrong in its framing."""

    events: list[tuple[float, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def chunks(self) -> list[Any]:
        """The JSON objects, `[DONE]` left out."""
        return [json.loads(data) for _, data in self.events if data != "[DONE]"]


def take_apart(answer: Answer) -> Stream:
    """Read server-sent events strictly: what some client stumbles over is a fault."""
    stream = Stream()
    rest = b""
    for when, piece in answer.pieces:
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            _take(block, when, stream)
    if rest.strip():
        stream.faults.append("the last event has no blank line behind it")
    return stream


def _take(block: bytes, when: float, stream: Stream) -> None:
    try:
        text = block.decode()
    except UnicodeDecodeError:
        stream.faults.append("an event is not UTF-8")
        return
    for line in text.split("\n"):
        if not line.startswith("data: "):
            name = line.partition(":")[0]
            told = "a comment" if name == "" else f"a line '{name}:'" if name != "data" else "'data:' without its space"
            stream.faults.append(f"{told}, which some clients cannot read")
            continue
        data = line.removeprefix("data: ")
        if data != "[DONE]":
            try:
                json.loads(data)
            except ValueError:
                stream.faults.append("the data of an event is no JSON")
                continue
        stream.events.append((when, data))
