"""What a flood of messages on the sockets of one key does to a socket of another key.

    python -m bench.socket_flood [--rounds 10] [--concurrency 16] [--rate 100]

Deploys the scripted engine into a local cloud of its own. One key has one socket and asks for short
responses, in turns while all is quiet and while another key sends ten times the messages that a
socket may send, and opens another socket when one was closed. The environments that answer are
warm. Each flood has a key of its own, because a key that has flooded is refused for a while. Some
requests are sent as soon as the flood begins, and the others two seconds later. A higher `--rate`
measures the local cloud, whose API Gateway, Lambda and DynamoDB share the CPU. Prints the times to
the first token and to the end of both, and their ratios. Writes bench/results/socket_flood.json.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from bench.sockets import create, deployed
from local.cloud import LocalCloud

_BEFORE_S, _AFTER_S = (0.0, 2.0), 3.0
"""Seconds of a flood before a request, in turns, and of quiet after it."""
_TOKENS, _RATE = 40, 20
_PATIENCE_S = 90.0
_ENDS = ("response.completed", "response.failed", "error")


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="A flood on one key beside another key.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--concurrency", type=int, default=16, help="of the function that answers")
    parser.add_argument("--rate", type=float, default=100, help="messages a second of a flood")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder))
        try:
            url, keys = deployed(cloud, Path(folder), args.concurrency, 1 + args.rounds)
            found = asyncio.run(measured(url, keys, args.concurrency, args.rate))
        finally:
            cloud.stop()
    Path("bench/results/socket_flood.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 1 if found["failed"] else 0


async def measured(url: str, keys: list[str], concurrency: int, rate: float) -> dict[str, Any]:
    """Return the times in milliseconds, and what the flood was answered."""
    quiet, flooded, failed = list[_Times](), list[_Times](), list[str]()
    flood = {"messages": 0, "closed": 0, "refused": 0}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        socket = await _opened(session, url, keys[0])
        await _warm(session, url, keys[0], concurrency, failed)
        for number, key in enumerate(keys[1:]):
            quiet.append(await _answered(socket, failed))
            floods = asyncio.create_task(_flood(session, url, key, flood, 1 / rate))
            try:
                await asyncio.sleep(_BEFORE_S[number % len(_BEFORE_S)])
                flooded.append(await _answered(socket, failed))
            except TimeoutError:
                failed.append(f"no end in {_PATIENCE_S:.0f} s")
                break
            finally:
                floods.cancel()
                await asyncio.gather(floods, return_exceptions=True)
            await asyncio.sleep(_AFTER_S)
        await socket.close()
    return {
        "quiet ms": _figures(quiet),
        "flooded ms": _figures(flooded),
        "ratios of p50": {
            what: round(_median(flooded, what) / _median(quiet, what), 2) for what in _Times._fields
        }
        if flooded
        else None,
        "each flooded ms": [[round(1000 * value) for value in times] for times in flooded],
        "flood": flood,
        "failed": failed,
    }


async def _opened(
    session: aiohttp.ClientSession, url: str, key: str
) -> aiohttp.ClientWebSocketResponse:
    return await session.ws_connect(url, headers={"Authorization": f"Bearer {key}"})


async def _warm(
    session: aiohttp.ClientSession, url: str, key: str, count: int, failed: list[str]
) -> None:
    """Start so many environments: their cold starts do not count. Each socket asks once."""
    sockets = [await _opened(session, url, key) for _ in range(count)]
    await asyncio.gather(*(_answered(socket, failed, 4 * _TOKENS) for socket in sockets))
    for socket in sockets:
        await socket.close()
    await asyncio.sleep(_AFTER_S)


class _Times(NamedTuple):
    """Seconds from the request on."""

    first: float
    end: float


async def _answered(
    socket: aiohttp.ClientWebSocketResponse, failed: list[str], tokens: int = _TOKENS
) -> _Times:
    """Ask for a response. Return its times when it has ended."""
    began, first = time.monotonic(), 0.0
    await socket.send_json(create(tokens, _RATE))
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            event = json.loads(await socket.receive_str())
            if event["type"].endswith("output_text.delta") and not first:
                first = time.monotonic() - began
            if event.get("type") in _ENDS:
                if event["type"] != "response.completed":
                    failed.append(json.dumps(event)[:200])
                end = time.monotonic() - began
                return _Times(first or end, end)


async def _flood(
    session: aiohttp.ClientSession, url: str, key: str, counted: dict[str, int], pause: float
) -> None:
    """Send messages that are refused, on one socket after another, until cancelled."""
    while True:
        try:
            socket = await _opened(session, url, key)
        except aiohttp.WSServerHandshakeError:
            counted["refused"] += 1
            await asyncio.sleep(0.5)
            continue
        reading = asyncio.create_task(_read(socket))
        try:
            while not reading.done():
                await socket.send_str('{"type": "response.create"}')
                counted["messages"] += 1
                await asyncio.sleep(pause)
        except ConnectionError:
            pass
        finally:
            reading.cancel()
            await socket.close()
        counted["closed"] += 1


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


def _median(times: list[_Times], what: str) -> float:
    return statistics.median([float(getattr(one, what)) for one in times])


def _figures(times: list[_Times]) -> dict[str, dict[str, int]]:
    return {
        what: {
            "p50": round(1000 * _median(times, what)),
            "max": round(1000 * max(getattr(one, what) for one in times)),
        }
        for what in _Times._fields
        if times
    }


if __name__ == "__main__":
    raise SystemExit(main())
