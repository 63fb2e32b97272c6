"""Logged streams whose functions are killed at every write, with a reader before and after.

Each stream has a live client. A second client reads the log from the first event on while the
response runs. When the connection of the live client breaks, most readers leave; some stay until
the lease of the dead producer is over. Then all read the rest, and a third one reads the whole.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import boto3
import httpx

from lambda_fn import limits
from tests.chaos import readers
from tests.chaos.deployment import ChaosDeployment
from tests.chaos.readers import Reader
from tests.chaos.stages import Kill

Say = Callable[[str], None]
RATE = 25
"""Tokens a second of each stream."""
_SHORT, _LONG = 50, 170
"""Tokens of most streams, and of those that last until the lease of their log is renewed."""
_LONG_EVERY = 5
_STAYS_EVERY = 6
"""One reader in so many stays with a stream whose function was killed: each reads four times a
second.
"""
_FORMS: tuple[tuple[str, dict[str, str]], ...] = (
    ("/chat/completions", {}),
    ("/completions", {}),
    ("/messages", {"anthropic-version": "2023-06-01"}),
)
_HANGS_S = 120.0
_TRIES = 8
"""Connections until a reader has the end. Functions that serve readers are killed too."""


@dataclass
class Stream:
    """A logged stream: its readers, and when the live client's connection broke."""

    key: str
    id: str = ""
    live: Reader = field(default_factory=lambda: Reader("the live client"))
    before: Reader = field(default_factory=lambda: Reader("the reader from before"))
    stored: Reader = field(default_factory=lambda: Reader("the reader of the whole"))


@dataclass
class Wave:
    """The streams of a run."""

    streams: list[Stream]

    def ends(self) -> str:
        """Return how many streams ended in each way, as text."""
        ways = Counter(
            "cut before its beginning" if not one.id else "whole" if one.live.ended else "cut"
            for one in self.streams
        )
        return ", ".join(f"{count} {way}" for way, count in sorted(ways.items()))


async def kills(
    deployment: ChaosDeployment,
    stages: Sequence[Kill],
    say: Say,
    *,
    count: int,
    at_once: int,
    seed: int,
) -> tuple[Wave, list[str]]:
    """Run logged streams while functions are killed at all writes. Return them and what is wrong.

    The faults of all stages are set at once. Each strikes as often as its share of half of the
    streams allows.
    """
    share = max(1, count // 2 // len(stages))
    faults = {
        stage.name: deployment.set_fault(
            count=share, seed=seed + number, **{"probability": 0.15, **stage.fault}
        )
        for number, stage in enumerate(stages)
    }
    room = asyncio.Semaphore(at_once)

    async def one(number: int) -> Stream:
        async with room:
            return await _stream(deployment, number)

    streams = await asyncio.gather(*(one(number) for number in range(count)))
    deployment.quiet = time.time()
    wave = Wave(streams)
    landed = {name: deployment.clear_fault(fault)["landed"] for name, fault in faults.items()}
    for name, times in landed.items():
        say(f"{name}: {times} kills")
    say(f"{count} logged streams, as their clients saw them: {wave.ends()}")
    return wave, [f"{name}: no function was killed" for name, times in landed.items() if not times]


def _client(deployment: ChaosDeployment, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=deployment.origin, headers={"authorization": f"Bearer {key}"}, timeout=_HANGS_S
    )


async def _stream(deployment: ChaosDeployment, number: int) -> Stream:
    """Run one stream with its live client, and a reader that comes before anything can go wrong."""
    path, headers = _FORMS[number % len(_FORMS)]
    count = _SHORT if number % _LONG_EVERY else _LONG
    said = json.dumps({"repeat": " w{i}", "count": count, "rate": RATE, "first_after": 0.1})
    prompt = (
        {"prompt": said}
        if path == "/completions"
        else {"messages": [{"role": "user", "content": said}]}
    )
    body = {
        "model": deployment.model,
        "stream": True,
        "max_tokens": 4000,
        "sluice": {"durable": True},
        **prompt,
    }
    made = Stream(deployment.keys[number % len(deployment.keys)])
    async with _client(deployment, made.key) as client, asyncio.timeout(_HANGS_S):
        reading = None
        try:
            async with client.stream("POST", path, json=body, headers=headers) as response:
                made.id = response.headers.get("x-sluice-stream", "")
                if made.id and response.status_code == 200:
                    reading = asyncio.create_task(
                        readers.read(made.before, client, made.id, tries=_TRIES)
                    )
                    await made.live.take(response)
        except httpx.TransportError:
            made.live.broken += 1
        if reading is not None:
            if not made.live.ended and number % _STAYS_EVERY:
                reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    return made


async def read_rests(
    deployment: ChaosDeployment, wave: Wave, say: Say, *, at_once: int
) -> list[str]:
    """Let all readers have the rest when the leases are over. Return what is wrong."""
    await asyncio.sleep(max(0.0, deployment.quiet + limits.LEASE + 1 - time.time()))
    room = asyncio.Semaphore(at_once)

    async def one(stream: Stream) -> None:
        async with room, _client(deployment, stream.key) as client, asyncio.timeout(_HANGS_S):
            for reader in (stream.live, stream.before, stream.stored):
                await readers.read(reader, client, stream.id, tries=_TRIES)

    known = [stream for stream in wave.streams if stream.id]
    await asyncio.gather(*(one(stream) for stream in known))
    found = [
        f"{stream.id}: {what}"
        for stream in known
        for what in readers.wrong(stream.stored, stream.live, [stream.before])
    ]
    behind = [
        len({number for number, _ in stream.live.chunks} - {n for n, _ in stream.stored.chunks})
        for stream in known
    ]
    broken = sum(reader.broken for stream in known for reader in (stream.before, stream.stored))
    say(
        f"{len(known)} streams read to their end by three clients each; {broken} of their "
        f"connections broke; a live client had at most {max(behind, default=0)} chunks more"
    )
    return found


def prove(deployment: ChaosDeployment, wave: Wave, say: Say) -> list[str]:
    """Compare the heads and segments of all logged streams with the ledger.

    Return what is wrong after a sweep.
    """
    mine = deployment.key_ids
    table = boto3.resource("dynamodb", **deployment.cloud.client_options()).Table(
        deployment.outputs["StreamTableName"]
    )
    logs: dict[str, list[dict[str, Any]]] = {}
    for item in _scan(table):
        if item["pk"].startswith("R#"):
            logs.setdefault(item["pk"].removeprefix("R#"), []).append(item)
    ledger = {item["sk"]: item for item in deployment.items() if item["pk"].startswith("LEDGER#")}
    found, equal, more = [], 0, 0
    for stream, items in logs.items():
        [head] = [item for item in items if item["sk"] == "HEAD"]
        if head["owner"] not in mine:
            continue
        segments = sorted(
            (item for item in items if item["sk"].startswith("S#")), key=lambda item: item["sk"]
        )
        logged = max([int(head.get("completion_tokens", 0)), *(int(it["t"]) for it in segments)])
        settled = ledger[stream]
        billed = int(settled["completion_tokens"])
        found += [f"{stream}: {what}" for what in _unended(head, segments)]
        by_producer = head.get("ended_by") == head["writer"]
        equal += billed == logged
        more += billed > logged
        if billed < logged or (billed > logged and (by_producer or settled.get("recovered"))):
            found.append(
                f"{stream}: {head['status']}, the log has {logged} tokens, ledger {billed}"
            )
    missing = {stream.id for stream in wave.streams if stream.id} - logs.keys()
    found += [f"{stream}: its client has its id, and it has no head" for stream in missing]
    say(f"{len(logs)} logs against the ledger: {equal} equal, {more} with more in the ledger")
    return found


def _unended(head: dict[str, Any], segments: list[dict[str, Any]]) -> list[str]:
    """Return what is wrong with the end of a log that was swept."""
    found = []
    if head["status"] in ("queued", "in_progress"):
        found.append(f"its head is still {head['status']}")
    if [bool(item.get("end")) for item in segments] != [False] * (len(segments) - 1) + [True]:
        found.append("the terminal segment is not its last one")
    following = 0
    for item in segments:
        if int(item["sk"].removeprefix("S#")) != following:
            found.append(f"a segment begins with {item['sk']} instead of event {following}")
            break
        following += int(item["n"])
    return found


def _scan(table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = table.scan(ConsistentRead=True)
    found += page["Items"]
    while "LastEvaluatedKey" in page:
        page = table.scan(ConsistentRead=True, ExclusiveStartKey=page["LastEvaluatedKey"])
        found += page["Items"]
    return found
