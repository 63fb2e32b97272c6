"""Clients of logged streams: a live one, and others that read the log, each over many connections.

`wrong` compares what they got with what is stored.
"""

import asyncio
import itertools
import re
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import httpx

STREAMS = "/sluice/streams"
_GAP = 100_000
"""`encode.numbered.GAP`, as the documentation of the API states it."""
_END = _GAP - 1
"""The lowest number of an end that the producer did not write: behind a stream without a chunk."""
_UNACKNOWLEDGED = 500
"""The events that a live client may have, and no log, after its function was killed."""
_NUMBER = re.compile(rb'"n":(\d+)')
_PADDING = re.compile(rb',"obfuscation":"[^"]*"')
_LATER = (429, 503)
"""The statuses after which a client tries again, whether they are the function's or Lambda's."""
_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 4.0
"""The pauses of a client before it connects again: the first one, and the longest."""
_LAST = (b"data: [DONE]", b'data: {"error":', b"event: message_stop", b"event: error")
"""How the chunk begins that ends a stream, whether it is whole or not."""


@dataclass
class Reader:
    """What one client has of a stream: its numbered chunks, in the order in which they came.

    `refused` is the status of a response that has no stream. `ended` says whether the terminal
    event is there. `broken` counts the connections that broke.
    """

    name: str
    chunks: list[tuple[int, bytes]] = field(default_factory=list)
    refused: int | None = None
    ended: bool = False
    broken: int = 0

    @property
    def last(self) -> int | None:
        """The number from which this client goes on."""
        return self.chunks[-1][0] if self.chunks else None

    @property
    def over(self) -> bool:
        """Whether this client needs nothing more."""
        return self.ended or self.refused is not None

    async def take(self, response: httpx.Response) -> None:
        """Read a body to its end, or until its connection breaks."""
        try:
            async for chunk in _chunks(response):
                number = _NUMBER.search(chunk)
                if number is not None:
                    self.chunks.append((int(number[1]), _PADDING.sub(b"", chunk)))
                if chunk.startswith(_LAST):
                    self.ended = True
        except httpx.TransportError:
            self.broken += 1

    async def resume(self, client: httpx.AsyncClient, stream: str) -> None:
        """Read the rest of a stream by one connection."""
        after = {} if self.last is None else {"starting_after": self.last}
        try:
            async with client.stream("GET", f"{STREAMS}/{stream}", params=after) as response:
                if response.status_code == 200:
                    await self.take(response)
                elif "x-request-id" in response.headers and response.status_code not in _LATER:
                    self.refused = response.status_code  # it is the function's own answer
                else:
                    self.broken += 1
        except httpx.TransportError:
            self.broken += 1


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield the whole chunks of an event stream."""
    rest = b""
    async for data in response.aiter_raw():
        *whole, rest = (rest + data).split(b"\n\n")
        for chunk in whole:
            yield chunk


def wrong(stored: Reader, live: Reader, others: Sequence[Reader]) -> list[str]:
    """Return what readers of one stream got against the rules, as sentences.

    Args:
        stored: Has read all that is stored, after the response has ended.
        live: The client that has asked, and that has resumed the response if it broke off.
        others: Readers from the first event on, who may have resumed it too.

    """
    numbers = [number for number, _ in stored.chunks]
    body = [number for number in numbers if number < _END]
    end = numbers[len(body) :]
    found = []
    if body != list(range(len(body))):
        found.append(f"what is stored has the numbers {body}")
    if end and end[0] != (body[-1] if body else -1) + _GAP:
        found.append(f"the end has the number {end[0]}, behind {body[-1:]}")
    if not stored.over:
        found.append("what is stored has no terminal event")
    lost = _UNACKNOWLEDGED if end or stored.refused is not None else 0
    begun = 0 if stored.refused is None else 1
    found += _wrong(live, dict(stored.chunks), more=lost)
    for reader in others:
        found += _wrong(reader, dict(stored.chunks), more=begun)
    return found


def _wrong(reader: Reader, stored: dict[int, bytes], *, more: int) -> list[str]:
    """Return what is wrong with one reader.

    It may have `more` chunks behind those that are stored: the live client of a function that was
    killed has what was not written, and who waited long for a stream without a token its beginning.
    """
    got = [number for number, _ in reader.chunks]
    found = []
    if not reader.over:
        found.append(f"has no terminal event behind {reader.last}")
    if any(later <= earlier for earlier, later in itertools.pairwise(got)):
        found.append(f"got a number twice: {got}")
    changed = [number for number, text in reader.chunks if stored.get(number, text) != text]
    if changed:
        found.append(f"got {changed} with another text than what is stored")
    if missing := sorted(stored.keys() - set(got)):
        found.append(f"lacks {missing}")
    unknown = [number for number in got if number not in stored and number < _END]
    first = sum(number < _END for number in stored)
    if len(unknown) > more:
        found.append(f"got {unknown}, which are not stored")
    if unknown != list(range(first, first + len(unknown))):
        found.append(f"got {unknown} behind {first} stored chunks")
    return [f"{reader.name} {what}" for what in found]


async def read(reader: Reader, client: httpx.AsyncClient, stream: str, *, seconds: float) -> Reader:
    """Read a stream to its end, by connections that begin within some time. Return the reader.

    As an SDK does, it waits longer before each connection that brings nothing.
    """
    ends, pause = time.monotonic() + seconds, _PAUSE_S
    while True:
        before = reader.last
        await reader.resume(client, stream)
        if reader.over or time.monotonic() >= ends:
            return reader
        pause = _PAUSE_S if reader.last != before else min(2 * pause, _LONGEST_PAUSE_S)
        await asyncio.sleep(pause)
