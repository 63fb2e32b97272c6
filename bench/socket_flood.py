"""What a flood of messages on the sockets of one key does to a socket of another key.

    python -m bench.socket_flood [--rounds 10] [--concurrency 16]

Deploys the scripted engine into a local cloud of its own. One key has one socket and asks for short
responses, in turns while all is quiet and while another key sends messages as fast as its sockets
take them, and opens another socket when one was closed. Prints the time to the first token in both,
and their ratio. Writes bench/results/socket_flood.json.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from bench.sockets import deployed
from local.cloud import LocalCloud

_BEFORE_S, _AFTER_S = 2.0, 3.0
"""Seconds of a flood before a request, and of quiet after it."""
_PATIENCE_S = 90.0
_ENDS = ("response.completed", "response.failed", "error")


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="A flood on one key beside another key.")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--concurrency", type=int, default=16, help="of the function that answers")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder))
        try:
            url, keys = deployed(cloud, Path(folder), args.concurrency, 2)
            found = asyncio.run(measured(url, keys, args.rounds))
        finally:
            cloud.stop()
    Path("bench/results/socket_flood.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 1 if found["failed"] else 0


async def measured(url: str, keys: list[str], rounds: int) -> dict[str, Any]:
    """Return the times in milliseconds, and what the flood was answered."""
    quiet, flooded, failed = list[float](), list[float](), list[str]()
    flood = {"messages": 0, "closed": 0, "refused": 0}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        socket = await _opened(session, url, keys[0])
        await _first_token(socket, failed)  # the cold start does not count
        for _ in range(rounds):
            quiet.append(await _first_token(socket, failed))
            floods = asyncio.create_task(_flood(session, url, keys[1], flood))
            try:
                await asyncio.sleep(_BEFORE_S)
                flooded.append(await _first_token(socket, failed))
            except TimeoutError:
                flooded.append(_PATIENCE_S * 1000)
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
        "ratio of p50": round(statistics.median(flooded) / statistics.median(quiet), 2),
        "flood": flood,
        "failed": failed,
    }


async def _opened(
    session: aiohttp.ClientSession, url: str, key: str
) -> aiohttp.ClientWebSocketResponse:
    return await session.ws_connect(url, headers={"Authorization": f"Bearer {key}"})


async def _first_token(socket: aiohttp.ClientWebSocketResponse, failed: list[str]) -> float:
    """Ask for a short response. Return the milliseconds to its first token, when it has ended."""
    began, first = time.monotonic(), 0.0
    await socket.send_json(
        {
            "type": "response.create",
            "model": "scripted",
            "input": json.dumps({"count": 5, "rate": 50}),
            "store": False,
        }
    )
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            event = json.loads(await socket.receive_str())
            if event["type"].endswith("output_text.delta") and not first:
                first = time.monotonic() - began
            if event.get("type") in _ENDS:
                if event["type"] != "response.completed":
                    failed.append(json.dumps(event)[:200])
                return (first or time.monotonic() - began) * 1000


async def _flood(
    session: aiohttp.ClientSession, url: str, key: str, counted: dict[str, int]
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
                await asyncio.sleep(0.002)
        except ConnectionError:
            pass
        finally:
            reading.cancel()
            await socket.close()
        counted["closed"] += 1


async def _read(socket: aiohttp.ClientWebSocketResponse) -> None:
    async for _ in socket:
        pass


def _figures(times: list[float]) -> dict[str, int]:
    return {"p50": round(statistics.median(times)), "max": round(max(times))}


if __name__ == "__main__":
    raise SystemExit(main())
