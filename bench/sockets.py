"""How long a cancel on a socket takes while every environment that answers is busy.

    python -m bench.sockets [--lanes 8] [--rounds 40]
    python -m bench.sockets --sockets 200

Deploys the scripted engine into a local cloud of its own, and keeps `--lanes` responses running on
one socket, which is all that the socket function may run. Each round cancels one of them and begins
another. Two times are measured from the sending of the cancel: until the response's last event, and
until the container runs one request less. Writes bench/results/sockets.json.

With `--sockets`, so many sockets have two responses each at the same time, in environments that run
`--each` invocations each: 16 as on Lambda Managed Instances, or 1. Every response must be whole and
in order. At most 16 requests wait for their first token at once, because the local cloud's
DynamoDB, one process, would not keep up with hundreds. This writes bench/results/many_sockets.json.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import statistics
import tempfile
import time
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import boto3

from bench.adapter import processes
from cli.lib import cdk, local_keys
from local.cloud import LocalCloud

_RATE, _TOKENS = 20, 9_000
_OF_A_KEY, _HANDSHAKES, _BEGINNING = 20, 10, 16
"""Sockets of a key, handshakes at once, and requests that wait for their first token at once."""
_MANY_RATE, _MANY_S = 0.5, 480
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
        await self._socket.send_json(create(_TOKENS, _RATE, stream_id=lane))
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
    parser.add_argument("--sockets", type=int, default=0)
    parser.add_argument("--each", type=int, default=16, help="invocations of an environment")
    parser.add_argument("--tokens", type=int, default=24, help="of a response, two seconds each")
    args = parser.parse_args()
    options = ["--lambda-concurrency", str(args.each)] if args.sockets and args.each > 1 else []
    lanes, keys = (
        (2 * args.sockets, -(-args.sockets // _OF_A_KEY)) if args.sockets else (args.lanes, 1)
    )
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder), options=options)
        try:
            url, keys_made = deployed(cloud, Path(folder), lanes, keys)
            if args.sockets:
                found = asyncio.run(many(cloud, url, keys_made, args.sockets, args.tokens))
                found["invocations of an environment"] = args.each
            else:
                found = asyncio.run(measured(cloud, url, keys_made[0], args.lanes, args.rounds))
        finally:
            cloud.stop()
    name = "many_sockets" if args.sockets else "sockets"
    Path(f"bench/results/{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))
    return 1 if found.get("wrong") else 0


def create(tokens: int, rate: float, **more: Any) -> dict[str, Any]:
    """Return a message that asks the scripted engine for tokens, `rate` of them a second."""
    return {
        "type": "response.create",
        "model": "scripted",
        "input": json.dumps({"count": tokens, "rate": rate}),
        "max_output_tokens": tokens,
        "store": False,
        **more,
    }


def deployed(cloud: LocalCloud, folder: Path, lanes: int, keys: int) -> tuple[str, list[str]]:
    """Deploy, and return the address of the sockets and keys."""
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
        "parallel": str(min(256, max(64, lanes))),
        "instance_count": str(-(-lanes // 256)),
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
    made = [local_keys.create(table, name=f"bench-{number}") for number in range(keys)]
    return f"{outputs['WebSocketBaseUrl']}/responses", made


async def many(
    cloud: LocalCloud, url: str, keys: list[str], count: int, tokens: int
) -> dict[str, Any]:
    """Ask for two responses on each of many sockets. Return figures, and what was wrong."""
    lanes, began = ("a", "b"), time.monotonic()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        opened: list[aiohttp.ClientWebSocketResponse] = []
        for start in range(0, count, _HANDSHAKES):
            group = range(start, min(start + _HANDSHAKES, count))
            opened += await asyncio.gather(
                *(
                    session.ws_connect(
                        url, headers={"Authorization": f"Bearer {keys[number // _OF_A_KEY]}"}
                    )
                    for number in group
                )
            )
        ready = time.monotonic()
        firsts: list[float] = []
        wrong: list[str] = []

        again: list[str] = []
        repeated: list[str] = []
        beginning = asyncio.Semaphore(_BEGINNING)

        async def ask(socket: aiohttp.ClientWebSocketResponse, lane: str) -> None:
            await socket.send_json(create(tokens, _MANY_RATE, stream_id=lane))

        async def one(number: int) -> None:
            socket, sent = opened[number], dict[str, float]()
            texts, numbers = dict.fromkeys(lanes, ""), dict.fromkeys(lanes, -1)
            left, begun = set(lanes), {lane: asyncio.Event() for lane in lanes}

            async def begin(lane: str) -> None:
                async with beginning:
                    sent[lane] = time.monotonic()
                    await ask(socket, lane)
                    await begun[lane].wait()

            begins = [asyncio.create_task(begin(lane)) for lane in lanes]
            try:
                await read(number, socket, sent, texts, numbers, left, begun)
            finally:
                for task in begins:
                    task.cancel()
                await socket.close()

        async def read(
            number: int,
            socket: aiohttp.ClientWebSocketResponse,
            sent: dict[str, float],
            texts: dict[str, str],
            numbers: dict[str, int],
            left: set[str],
            begun: dict[str, asyncio.Event],
        ) -> None:
            while left:
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    wrong.append(f"socket {number}: closed with {socket.close_code}, {left} open")
                    return
                event = json.loads(message.data)
                if "stream_id" not in event:  # of API Gateway itself
                    wrong.append(f"socket {number}: {message.data[:200]}")
                    return
                lane = event["stream_id"]
                if event["type"] == "error" and event["status"] == HTTPStatus.SERVICE_UNAVAILABLE:
                    again.append(lane)  # a busy machine's table did not answer in time
                    texts[lane], numbers[lane] = "", -1
                    await asyncio.sleep(float(event["error"]["headers"]["retry-after"]))
                    await ask(socket, lane)
                    continue
                if event["type"] == "error":
                    wrong.append(f"socket {number}, lane {lane}: {event['error']['code']}")
                    left.discard(lane)
                    begun[lane].set()
                    continue
                if event["sequence_number"] == numbers[lane]:
                    repeated.append(lane)  # a post whose answer was lost is made again
                    continue
                if event["sequence_number"] < numbers[lane]:
                    wrong.append(f"socket {number}, lane {lane}: out of order")
                numbers[lane] = event["sequence_number"]
                if event["type"].endswith("output_text.delta"):
                    if not texts[lane]:
                        firsts.append(time.monotonic() - sent[lane])
                        begun[lane].set()
                    texts[lane] += event["delta"]
                elif event["type"] in ("response.completed", "response.failed"):
                    left.discard(lane)
                    output = event["response"]["output"]
                    if not output or output[0]["content"][0]["text"] != texts[lane]:
                        code = (event["response"].get("error") or {}).get("code")
                        wrong.append(
                            f"socket {number}, lane {lane}: not whole ({event['type']} {code})"
                        )

        containers, idle = Containers(cloud, session), programs(cloud.pid)
        most, work = 0, asyncio.gather(*(one(number) for number in range(count)))
        held: dict[str, dict[str, float]] = {}
        async with asyncio.timeout(_MANY_S):
            while not work.done():
                if (running := await containers.running()) > most:
                    most, held = running, programs(cloud.pid)
                await asyncio.wait([work], timeout=0.5)
            await work
    return {
        "sockets": count,
        "streams": 2 * count,
        "tokens a second of a stream": _MANY_RATE,
        "most streams at once": most,
        "handshakes s": round(ready - began, 1),
        "first token s": {
            "p50": round(statistics.median(firsts), 2),
            "p95": round(_p95(firsts), 2),
        },
        "all s": round(time.monotonic() - ready, 1),
        "asked again": len(again),
        "messages that came twice": len(repeated),
        "programs before": idle,
        "programs while most ran": held,
        "wrong": wrong,
    }


async def measured(
    cloud: LocalCloud, url: str, key: str, lanes: int, rounds: int
) -> dict[str, Any]:
    """Measure, and return the figures in milliseconds."""
    times: dict[str, list[float]] = {"last_event": [], "container_free": []}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url, headers={"Authorization": f"Bearer {key}"}) as opened,
    ):
        socket, containers = Socket(opened), Containers(cloud, session)
        names = [f"lane-{number}" for number in range(lanes)]
        for lane in names:
            await socket.begin(lane)
        for number in range(-_WARM, rounds):
            lane = names[number % lanes]
            if await containers.running() != lanes:
                raise RuntimeError("not every lane runs")
            began = time.monotonic()
            ended = await socket.cancel(lane)
            await fewer(containers, lanes)
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


async def fewer(containers: "Containers", count: int) -> None:
    """Wait until the containers run less requests than `count`."""
    while True:
        if await containers.running() < count:
            return
        await asyncio.sleep(_POLL)


class Containers:
    """The containers of a local cloud that is not changed any more.

    Their addresses are asked for once: what measures a cancel must not take longer than the cancel.
    """

    def __init__(self, cloud: LocalCloud, session: aiohttp.ClientSession) -> None:
        """Ask for their addresses."""
        self._session = session
        self._found = [
            (f"http://127.0.0.1:{container['port']}/metrics", container["headers"])
            for endpoint in cloud.ask("status")["endpoints"]
            for container in endpoint["containers"]
        ]

    async def running(self) -> int:
        """Return the number of requests that the containers run, by their own metric."""
        total = 0
        for url, headers in self._found:
            async with self._session.get(url, headers=headers) as response:
                text = await response.text()
            found = re.search(r"^sluice_requests_running (\S+)$", text, re.MULTILINE)
            total += int(float(found[1])) if found else 0
        return total


_PROGRAMS = {
    "lambda_fn.socket.gateway.main": "answers",
    "lambda_fn.socket.gateway.control_main": "control",
    "local.control_plane": "local AWS",
    "model": "container",
    "local": "local cloud",
}


def programs(pid: int) -> dict[str, dict[str, float]]:
    """Return the processes of a local cloud by kind: how many, MB (10**6), and seconds of CPU."""
    found: dict[str, dict[str, float]] = {}
    for process in processes.tree(pid):
        with contextlib.suppress(OSError, IndexError):  # it may have ended
            words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
            pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
            kind = next((_PROGRAMS[word] for word in words if word in _PROGRAMS), "others")
            sums = found.setdefault(kind, {"processes": 0, "MB": 0, "CPU s": 0})
            sums["processes"] += 1
            sums["MB"] = round(sums["MB"] + pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)
            sums["CPU s"] = round(sums["CPU s"] + time.clock_gettime((~process << 3) | 2), 1)
    return found


def _p95(values: list[float]) -> float:
    return sorted(values)[max(0, round(0.95 * len(values)) - 1)]


if __name__ == "__main__":
    raise SystemExit(main())
