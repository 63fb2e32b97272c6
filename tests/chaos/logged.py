"""Logged streams whose functions are killed at every write, with a reader before and after.

Each stream has a live client. A second client reads the log from the first event on while the
response runs. When the connection of the live client breaks, most readers leave; some stay until
the lease of the dead producer is over. Then all read the rest, and a third one reads the whole.
"""

import asyncio
import json
import secrets
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
_HANGS_S = 300.0
_PATIENCE_S = 90.0
"""Time in which a reader connects again. Functions that serve readers are killed too."""


@dataclass
class Stream:
    """A logged stream: its readers, and when the live client's connection broke."""

    key: str
    word: str
    id: str = ""
    live: Reader = field(default_factory=lambda: Reader("the live client"))
    before: Reader = field(default_factory=lambda: Reader("the reader from before"))
    stored: Reader = field(default_factory=lambda: Reader("the reader of the whole"))


@dataclass
class Wave:
    """The streams of a run."""

    streams: list[Stream]
    quiet: float = field(default_factory=time.time)
    """When the last of them ended, in Unix seconds."""

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

    words = {key: secrets.token_hex(6) for key in deployment.keys}

    async def one(number: int) -> Stream:
        key = deployment.keys[number % len(deployment.keys)]
        async with room:
            return await _stream(deployment, Stream(key, words[key]), number)

    streams = await asyncio.gather(*(one(number) for number in range(count)))
    wave = Wave(streams)
    deployment.quiet = wave.quiet
    landed = {name: deployment.clear_fault(fault)["landed"] for name, fault in faults.items()}
    for name, times in landed.items():
        say(f"{name}: {times} kills")
    say(f"{count} logged streams, as their clients saw them: {wave.ends()}")
    return wave, [f"{name}: no function was killed" for name, times in landed.items() if not times]


def _client(deployment: ChaosDeployment, key: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=deployment.origin, headers={"authorization": f"Bearer {key}"}, timeout=_HANGS_S
    )


def _body(deployment: ChaosDeployment, word: str, count: int, path: str) -> dict[str, Any]:
    """Return the body of a request for a stream that says a word with each token's number."""
    said = {"repeat": f" {word}-{{i}}", "count": count, "rate": RATE, "first_after": 0.1}
    text = json.dumps(said)
    prompt = {"messages": [{"role": "user", "content": text}]}
    return {
        "model": deployment.model,
        "stream": True,
        "max_tokens": 1000,
        "sluice": {"durable": True},
        **({"prompt": text} if path == "/completions" else prompt),
    }


async def _stream(deployment: ChaosDeployment, made: Stream, number: int) -> Stream:
    """Run one stream with its live client, and a reader that comes before anything can go wrong."""
    path, headers = _FORMS[number % len(_FORMS)]
    body = _body(deployment, made.word, _SHORT if number % _LONG_EVERY else _LONG, path)
    async with _client(deployment, made.key) as client, asyncio.timeout(_HANGS_S):
        reading = None
        try:
            async with client.stream("POST", path, json=body, headers=headers) as response:
                made.id = response.headers.get("x-sluice-stream", "")
                if made.id and response.status_code == 200:
                    reading = asyncio.create_task(
                        readers.read(made.before, client, made.id, seconds=_PATIENCE_S)
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
    """Read the rest for all readers when the leases are over. Return what is wrong."""
    await asyncio.sleep(max(0.0, wave.quiet + limits.LEASE + 1 - time.time()))
    room = asyncio.Semaphore(at_once)

    async def one(stream: Stream) -> None:
        async with room, _client(deployment, stream.key) as client, asyncio.timeout(_HANGS_S):
            for reader in (stream.live, stream.before, stream.stored):
                await readers.read(reader, client, stream.id, seconds=_PATIENCE_S)

    known = [stream for stream in wave.streams if stream.id]
    await asyncio.gather(*(one(stream) for stream in known))
    found = [
        f"{stream.id}: {what}"
        for stream in known
        for what in readers.wrong(stream.stored, stream.live, [stream.before])
    ]
    found += _strange(deployment, wave)
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


def _strange(deployment: ChaosDeployment, wave: Wave) -> list[str]:
    """Return where a key's word stands that its prompts and answers have, and must not stand."""
    words = {stream.word for stream in wave.streams}
    found = [
        f"{stream.id}: {reader.name} got text of another key"
        for stream in wave.streams
        for reader in (stream.live, stream.before, stream.stored)
        for word in words - {stream.word}
        if any(word.encode() in text for _, text in reader.chunks)
    ]
    lines = [line for line in deployment.lines("*") if any(word in line for word in words)]
    found += [f"a log has text of a prompt or an answer: {line[:200]}" for line in lines[:3]]
    items = json.dumps(deployment.items(), default=str)
    return found + [f"the usage table has the text {word}" for word in words if word in items]


async def outage(deployment: ChaosDeployment, say: Say, *, count: int) -> list[str]:
    """Throttle StreamTable for longer than a log waits for it. Return what is wrong.

    Streams that run are told that their log is lost, and are served to their end. What asks for a
    log is refused, and what may go without one says so.
    """
    tokens = round((limits.LOG_GIVE_UP + 10) * RATE)
    key, word = deployment.keys[0], secrets.token_hex(6)
    body = _body(deployment, word, tokens, "")
    begun = asyncio.Semaphore(0)

    async def one(client: httpx.AsyncClient) -> tuple[str, bytes]:
        async with client.stream("POST", "/chat/completions", json=body) as response:
            parts = response.aiter_raw()
            got = await anext(parts)
            begun.release()
            async for part in parts:
                got += part
            return response.headers["x-sluice-stream"], got

    async with _client(deployment, key) as client, asyncio.timeout(_HANGS_S):
        running = [asyncio.create_task(one(client)) for _ in range(count)]
        for _ in range(count):
            await begun.acquire()
        fault = deployment.set_fault(table="StreamTableName", kind="table-throttled", probability=1)
        short = _body(deployment, word, 3, "")
        refused = await client.post("/chat/completions", json=short)
        del short["sluice"]
        unlogged = await client.post(
            "/chat/completions", json=short, headers={"idempotency-key": word}
        )
        ended = await asyncio.gather(*running)
        struck = deployment.clear_fault(fault)["struck"]
        deployment.quiet = time.time()
        found = []
        if (refused.status_code, refused.json()["error"]["code"]) != (503, "log_unavailable"):
            found.append(f"a durable request without a log is {refused.status_code}")
        if (unlogged.status_code, unlogged.headers.get("x-sluice-log")) != (200, "off"):
            found.append(f"a request without a log is {unlogged.status_code}, and not told so")
        for stream, got in ended:
            if got.count(word.encode()) != tokens or b"data: [DONE]" not in got:
                found.append(f"{stream}: its client has not the whole text")
            if got.count(b'"log":"lost"') != 1:
                found.append(f"{stream}: its client was not told once that the log is lost")
            stored = await readers.read(Reader("the reader"), client, stream, seconds=_PATIENCE_S)
            if not stored.chunks or b"log_unavailable" not in stored.chunks[-1][1]:
                found.append(f"{stream}: what is stored does not say that it is not the whole")
    say(
        f"StreamTable was throttled ({struck} calls failed); {count} streams were served without "
        "their logs"
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
        head = next((item for item in items if item["sk"] == "HEAD"), None)
        if head is None:
            found.append(f"{stream}: it has {sorted(item['sk'] for item in items)}, and no head")
            continue
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
