"""How long a cancel on a socket takes while every environment that answers is busy.

    python -m bench.sockets [--lanes 8] [--rounds 40]

Deploys the scripted engine into a local cloud of its own, and keeps `--lanes` responses running on
one socket, which is all that the socket function may run. Each round cancels one of them and begins
another. Two times are measured from the sending of the cancel: until the response's last event, and
until the container runs one request less. Writes bench/results/sockets.json.
"""

import argparse
import asyncio
import json
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import boto3

from cli.lib import cdk, local_keys
from local.cloud import LocalCloud

_RATE, _TOKENS = 20, 9_000
_WARM = 3
"""Cancels before those that count."""
_POLL = 0.005


class Socket:
    """An open socket, whose events are noted with their times."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Begin to read."""
        self._socket = socket
        self._ended: dict[str, asyncio.Future[float]] = {}
        self._begun: dict[str, asyncio.Future[None]] = {}
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            event = json.loads(message.data)
            lane, kind = event.get("stream_id", ""), event["type"]
            if kind.endswith(".delta") and not self._begun[lane].done():
                self._begun[lane].set_result(None)
            if kind == "response.failed":
                self._ended[lane].set_result(time.monotonic())
            elif kind in ("error", "response.completed"):
                raise RuntimeError(f"a response ended otherwise: {event}")

    async def begin(self, lane: str) -> None:
        """Send a request, and wait for its first token."""
        loop = asyncio.get_running_loop()
        self._begun[lane], self._ended[lane] = loop.create_future(), loop.create_future()
        await self._socket.send_json(
            {
                "type": "response.create",
                "model": "scripted",
                "input": json.dumps({"count": _TOKENS, "rate": _RATE}),
                "max_output_tokens": _TOKENS,
                "stream_id": lane,
                "store": False,
            }
        )
        async with asyncio.timeout(60):
            await self._begun[lane]

    async def cancel(self, lane: str) -> asyncio.Future[float]:
        """Send a cancel, and return the time of the response's last event when it comes."""
        await self._socket.send_json({"type": "response.cancel", "stream_id": lane})
        return self._ended[lane]


def main() -> int:
    """Measure, write and print. Return the exit status."""
    parser = argparse.ArgumentParser(description="The time that a cancel on a socket takes.")
    parser.add_argument("--lanes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder))
        try:
            url, key = deployed(cloud, Path(folder), args.lanes)
            found = asyncio.run(measured(cloud, url, key, args.lanes, args.rounds))
        finally:
            cloud.stop()
    Path("bench/results/sockets.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 0


def deployed(cloud: LocalCloud, folder: Path, lanes: int) -> tuple[str, str]:
    """Deploy, and return the address of the sockets and a key."""
    aws = cloud.aws_environment()
    target = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
    log = folder / "deploy.log"
    cdk.cdk(["bootstrap", target, "--app", ""], aws=aws, log=log, detail=lambda _: None)
    settings = {
        "stage": "local",
        "name": "sockets",
        "engine": "scripted",
        "model_name": "scripted",
        "context_tokens": "16384",
        "websocket": "true",
        "websocket_concurrency": str(lanes),
    }
    outputs = cdk.deploy(
        context=settings, aws=aws, outputs=folder / "out.json", log=log, detail=lambda _: None
    )
    table = boto3.resource(
        "dynamodb",
        endpoint_url=cloud.endpoint_url,
        region_name=aws["AWS_REGION"],
        aws_access_key_id=aws["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
    ).Table(outputs["UsageTableName"])
    key = local_keys.create(table, name="bench")
    return f"{outputs['WebSocketBaseUrl']}/responses", key


async def measured(
    cloud: LocalCloud, url: str, key: str, lanes: int, rounds: int
) -> dict[str, Any]:
    """Measure, and return the figures in milliseconds."""
    times: dict[str, list[float]] = {"last_event": [], "container_free": []}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers={"Authorization": f"Bearer {key}"}) as opened,
    ):
        socket = Socket(opened)
        names = [f"lane-{number}" for number in range(lanes)]
        for lane in names:
            await socket.begin(lane)
        for number in range(-_WARM, rounds):
            lane = names[number % lanes]
            if await running(cloud, session) != lanes:
                raise RuntimeError("not every lane runs")
            began = time.monotonic()
            ended = await socket.cancel(lane)
            await fewer(cloud, session, lanes)
            free = time.monotonic() - began
            async with asyncio.timeout(60):
                last = await ended - began
            if number >= 0:
                times["last_event"].append(last * 1000)
                times["container_free"].append(free * 1000)
            await socket.begin(lane)
        socket.reading.cancel()
    return {
        "lanes": lanes,
        "cancels": rounds,
        **{
            name: {"p50": round(statistics.median(found)), "p95": round(_p95(found))}
            for name, found in times.items()
        },
    }


async def fewer(cloud: LocalCloud, session: aiohttp.ClientSession, count: int) -> None:
    """Wait until the containers run less requests than `count`."""
    while True:
        if await running(cloud, session) < count:
            return
        await asyncio.sleep(_POLL)


async def running(cloud: LocalCloud, session: aiohttp.ClientSession) -> int:
    """Return the number of requests that the containers run, by their own metric."""
    total = 0
    status = await asyncio.to_thread(cloud.ask, "status")
    for endpoint in status["endpoints"]:
        for container in endpoint["containers"]:
            url = f"http://127.0.0.1:{container['port']}/metrics"
            async with session.get(url, headers=container["headers"]) as response:
                text = await response.text()
            found = re.search(r"^sluice_requests_running (\S+)$", text, re.MULTILINE)
            total += int(float(found[1])) if found else 0
    return total


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


if __name__ == "__main__":
    raise SystemExit(main())
