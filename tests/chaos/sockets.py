"""Sockets that break off at any message, and functions that are killed at any write for them.

Each socket has three requests in two lanes. Some clients break their connection after a random
number of messages. A client that stays must see each of its requests end.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import boto3

from tests.chaos.deployment import ChaosDeployment
from tests.chaos.stages import LOGGED, SHORT

Say = Callable[[str], None]
RATE = float(SHORT["rate"])
"""Tokens a second of each response."""
_LANES = ("a", "a", "b")
_ENDS = ("response.completed", "response.failed", "response.incomplete", "error")
_LEAVES = 0.5
"""The share of clients that leave, after up to `_MESSAGES` messages."""
_MESSAGES = 24
_HANGS_S = 120.0
_TRIES = 10
_FAULTS = [
    *(
        {"kind": f"caller-killed-{when}", "operation": "PutItem", "containing": text}
        for text in ('"F#', 'rate\\"')  # a message of a client, and the state of its socket
        for when in ("before", "after")
    ),
    *(one.fault for one in LOGGED if "reader" not in one.name),
]
_STRIKES = 1
_REPEATED_S = 90.0
"""Within this time, Lambda has repeated what the control function did not end before it was killed.
"""


@dataclass
class Seen:
    """What a client saw on one socket: the ends of each lane, each told apart from a repeat."""

    left: bool = False
    ends: dict[str, set[str]] = field(default_factory=lambda: {lane: set() for lane in _LANES})

    @property
    def is_over(self) -> bool:
        """Whether each request has ended."""
        return all(len(ends) >= _LANES.count(lane) for lane, ends in self.ends.items())

    @property
    def is_exact(self) -> bool:
        """Whether no request has ended more than once."""
        return all(len(ends) == _LANES.count(lane) for lane, ends in self.ends.items())

    def take(self, event: dict[str, Any], number: int) -> None:
        """Note an event. The last event of a response may come twice."""
        if event["type"] in _ENDS:
            name = event["response"]["id"] if "response" in event else f"error {number}"
            self.ends[event["stream_id"]].add(name)


async def kills(
    deployment: ChaosDeployment, say: Say, *, count: int, at_once: int, seed: int
) -> list[str]:
    """Run sockets while functions are killed at their writes. Return what is wrong."""
    faults = [
        deployment.set_fault(
            **{"table": "StreamTableName", "probability": 0.3, **fault, "count": _STRIKES},
            seed=seed + number,
        )
        for number, fault in enumerate(_FAULTS)
    ]
    room, chance = asyncio.Semaphore(at_once), random.Random(seed)
    leaves = [
        chance.randrange(_MESSAGES) if chance.random() < _LEAVES else None for _ in range(count)
    ]
    async with aiohttp.ClientSession() as session:

        async def one(number: int) -> Seen | None:
            async with room:
                return await _socket(deployment, session, number, leaves[number])

        seen = await asyncio.gather(*(one(number) for number in range(count)))
    deployment.quiet = time.time()
    struck = sum(deployment.clear_fault(fault)["landed"] for fault in faults)
    left = sum(one is not None and one.left for one in seen)
    refused = seen.count(None)
    say(f"{count} sockets: {left} left, {refused} not opened; {struck} functions killed")
    stayed = [(number, one) for number, one in enumerate(seen) if one is not None and not one.left]
    wrong = [f"socket {number} hangs: {one.ends}" for number, one in stayed if not one.is_over]
    wrong += [
        f"socket {number} has more ends than requests: {one.ends}"
        for number, one in stayed
        if one.is_over and not one.is_exact
    ]
    return wrong


async def _socket(
    deployment: ChaosDeployment,
    session: aiohttp.ClientSession,
    number: int,
    leaves: int | None,
) -> Seen | None:
    """Use one socket, and return what came; None if it could not be opened."""
    key = deployment.keys[number % len(deployment.keys)]
    url = f"{deployment.outputs['WebSocketBaseUrl']}/responses"
    headers = {"Authorization": f"Bearer {key}"}
    for _ in range(_TRIES):
        with suppress(aiohttp.ClientError):  # the function that opens sockets is killed, too
            socket = await session.ws_connect(url, headers=headers)
            break
        await asyncio.sleep(0.2)
    else:
        return None
    seen = Seen()
    for lane in _LANES:
        await socket.send_json(
            {
                "type": "response.create",
                "model": deployment.model,
                "input": json.dumps(SHORT),
                "stream_id": lane,
                "store": False,
            }
        )
    with suppress(TimeoutError):
        async with asyncio.timeout(_HANGS_S):
            came = 0
            while not seen.is_over:
                if came == leaves:
                    seen.left = True
                    break
                message = await socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    break
                seen.take(json.loads(message.data), came)
                came += 1
    if seen.left and (transport := socket.get_extra_info("transport")) is not None:
        transport.abort()
    else:
        await socket.close()
    return seen


async def prove(deployment: ChaosDeployment, say: Say) -> list[str]:
    """Return what sockets have left open in StreamTable after a sweep."""
    ends = time.monotonic() + _REPEATED_S
    while True:
        wrong = await asyncio.to_thread(_left_open, deployment, say)
        if not wrong or time.monotonic() > ends:
            return wrong
        await asyncio.sleep(5)


def _left_open(deployment: ChaosDeployment, say: Say) -> list[str]:
    table = boto3.resource("dynamodb", **deployment.cloud.client_options()).Table(
        deployment.outputs["StreamTableName"]
    )
    mine, wrong, states, heads = deployment.key_ids, [], 0, 0
    page: dict[str, Any] = {}
    while True:
        page = table.scan(
            ConsistentRead=True,
            **({"ExclusiveStartKey": page["LastEvaluatedKey"]} if page else {}),
        )
        for item in page["Items"]:
            if item.get("owner") not in mine or item["sk"] != "HEAD":
                continue
            if item["pk"].startswith("C#"):
                states += 1
                wrong += _open(item)
            elif item["pk"].startswith("R#"):
                heads += 1
                if item["status"] in ("queued", "in_progress"):
                    wrong.append(f"{item['pk']}: its head is still {item['status']}")
        if "LastEvaluatedKey" not in page:
            break
    say(f"{states} sockets and {heads} responses in StreamTable; {len(wrong)} wrong")
    return wrong


def _open(item: dict[str, Any]) -> list[str]:
    """Return what the state of a socket still has open."""
    state = json.loads(item["state"])
    waiting = sum(len(lane["waiting"]) for lane in state["lanes"]["lanes"].values())
    if not state["runs"] and not waiting:
        return []
    return [f"{item['pk']}: {len(state['runs'])} responses run and {waiting} requests wait"]
