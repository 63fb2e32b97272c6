"""A stand-in API whose streams lie, stall, break off and end without an end, for load tests.

The prompt of a request is the name of what it gets: a key of `ANSWERS`. Each has the ending that a
load test must report.
"""

import asyncio
import contextlib
import json
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cli.commands.load.endings import Ending

End = Literal["whole", "reset", "half", "close", "stall"]
"""How a body ends: with its last chunk; by a reset; by a close without the last chunk; as a body
without a length; or never."""


def event(value: object, name: str = "") -> bytes:
    """Return one server-sent event."""
    data = value if isinstance(value, str) else json.dumps(value)
    return (f"event: {name}\n" if name else "").encode() + f"data: {data}\n\n".encode()


def chunk(content: str = "", finish: str | None = None, **fields: Any) -> bytes:
    """Return a chunk of a chat."""
    delta = {"content": content} if content else {}
    return event({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **fields})


def usage(tokens: int, prompt: int = 7) -> bytes:
    """Return the usage chunk of a chat."""
    counts = {"prompt_tokens": prompt, "completion_tokens": tokens}
    return event({"choices": [], "usage": counts})


DONE = event("[DONE]")
WORDS = [chunk(f" word{number}") for number in range(4)]
WHOLE = [*WORDS, chunk(finish="stop"), usage(4), DONE]
ERROR = {"error": {"message": "it broke", "type": "server_error", "param": None, "code": "cut"}}


@dataclass(frozen=True)
class Answer:
    """What a request gets, and the ending that it has."""

    pieces: Sequence[bytes]
    ending: Ending
    end: End = "whole"
    status: str = "200 OK"
    raw: bool = False
    """Whether the pieces are all that is sent, instead of the body."""


ANSWERS: dict[str, Answer] = {
    "whole": Answer(WHOLE, Ending("complete")),
    "by byte": Answer([bytes([it]) for it in b"".join(WHOLE)], Ending("complete")),
    "without a length": Answer(WHOLE, Ending("complete"), "close"),
    "broken after its end": Answer(WHOLE, Ending("complete"), "reset"),
    "no finish reason": Answer([*WORDS, usage(4), DONE], Ending("silent", "no_finish_reason")),
    "no end marker": Answer([*WHOLE[:-1]], Ending("silent", "no_end_marker")),
    "no usage": Answer([*WORDS, chunk(finish="stop"), DONE], Ending("silent", "no_usage")),
    "truncated": Answer(WORDS[:2], Ending("silent", "no_finish_reason")),
    "empty": Answer([], Ending("silent", "no_finish_reason")),
    "truncated within an event": Answer([*WORDS, DONE[:-1]], Ending("silent", "no_finish_reason")),
    "reset": Answer(WORDS[:2], Ending("cut"), "reset"),
    "half": Answer(WORDS[:2], Ending("cut"), "half"),
    "error event": Answer([*WORDS[:2], event(ERROR)], Ending("error", "cut")),
    "error event and a reset": Answer([*WORDS[:2], event(ERROR)], Ending("error", "cut"), "reset"),
    "error as a text": Answer([event({"error": "broken"})], Ending("error", "unnamed")),
    "garbage": Answer([*WORDS, b"data: {oops\n\n"], Ending("malformed", "event_not_readable")),
    "wrong types": Answer([event({"choices": "none"})], Ending("malformed", "event_not_readable")),
    "more after the end": Answer([*WHOLE, *WORDS], Ending("malformed", "events_after_the_end")),
    "deep": Answer(
        [event('{"choices":[],"error":' + "[" * 100_000)],
        Ending("malformed", "event_not_readable"),
    ),
    "refused": Answer(
        [json.dumps({"error": {"code": "rate_limit_exceeded"}}).encode()],
        Ending("refused", "429 rate_limit_exceeded"),
        status="429 Too Many Requests",
    ),
    "refused in HTML": Answer(
        [b"<html>no</html>"], Ending("refused", "502"), status="502 Bad Gateway"
    ),
    "not HTTP": Answer([b"SSH-2.0-OpenSSH\r\n"], Ending("malformed", "not_http"), raw=True),
    "nothing": Answer([], Ending("cut", "before_status"), "half", raw=True),
    "an endless head": Answer(
        [b"HTTP/1.1 200 OK\r\nx: " + b"y" * 65_536, *[b"y" * 65_536] * 3],
        Ending("malformed", "head_too_large"),
        "stall",
        raw=True,
    ),
    "informed first": Answer(
        [
            b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"".join(WHOLE),
        ],
        Ending("complete"),
        "close",
        raw=True,
    ),
    "stall": Answer(WORDS[:2], Ending("slow", "silence"), "stall"),
    "stall before the status": Answer([], Ending("slow", "before_status"), "stall", raw=True),
}


@dataclass
class LyingAPI:
    """The running API, and what it received."""

    port: int = 0
    bodies: list[Any] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    lost: int = 0
    """Clients that were gone before their answer was sent."""
    answers: dict[str, Answer] = field(default_factory=lambda: ANSWERS)
    sent: Callable[[str], None] = lambda name: None
    """Called when an answer has been sent."""

    @property
    def url(self) -> str:
        """The base URL that clients use."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if head.startswith("GET"):
                writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                return
            self.heads.append(head)
            length = int(head.lower().partition("content-length: ")[2].partition("\r\n")[0])
            body = json.loads(await reader.readexactly(length))
            self.bodies.append(body)
            name = body.get("prompt") or body.get("input") or body["messages"][0]["content"]
            await self._answer(self.answers[name], len(self.bodies), writer)
            self.sent(name)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.lost += 1
        finally:
            writer.close()

    async def _answer(self, answer: Answer, number: int, writer: asyncio.StreamWriter) -> None:
        chunked = answer.end != "close"
        if not answer.raw:
            coding = "transfer-encoding: chunked\r\n" if chunked else "connection: close\r\n"
            head = f"HTTP/1.1 {answer.status}\r\nx-request-id: req_{number}\r\n{coding}\r\n"
            writer.write(head.encode())
        for piece in answer.pieces:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece)
            writer.write(framed if chunked and not answer.raw else piece)
            await writer.drain()
            await asyncio.sleep(0)
        if answer.end == "whole" and not answer.raw:
            writer.write(b"0\r\n\r\n")
        elif answer.end == "reset":
            # all that was written has to arrive before the reset, which would overtake it
            await asyncio.sleep(0.05)
            self._reset(writer)
        elif answer.end == "stall":
            await asyncio.Event().wait()
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    @staticmethod
    def _reset(writer: asyncio.StreamWriter) -> None:
        found = writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@contextlib.contextmanager
def lying_api_beside() -> Iterator[LyingAPI]:
    """Yield the API, which runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    running = lying_api()
    try:
        yield asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result()
        asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextlib.asynccontextmanager
async def lying_api(answers: dict[str, Answer] | None = None) -> AsyncIterator[LyingAPI]:
    """Yield the running API."""
    api = LyingAPI(answers=answers or ANSWERS)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(api.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    api.port = server.sockets[0].getsockname()[1]
    try:
        yield api
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
