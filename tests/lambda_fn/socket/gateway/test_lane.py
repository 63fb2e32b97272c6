"""The lanes of a socket: beside each other, and each one response after another."""

import asyncio

from tests.support.function import (
    FIRST,
    REST,
    StandIn,
)
from tests.support.gateway_sockets import Sockets, create, until, until_end


async def test_lanes(sockets: Sockets, sagemaker: StandIn) -> None:
    """Lanes are answered beside each other, and each event names its lane."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(stream_id="a"))
    await socket.send_json(create(stream_id="b"))
    seen: set[str] = set()
    while seen != {"a", "b"}:
        seen.add((await until(socket, "response.output_text.delta"))["stream_id"])
    held.set()
    events = await until_end(socket, 2)
    assert {event["stream_id"] for event in events} == {"a", "b"}
    await sockets.at_rest()


async def test_a_lane_answers_one_after_the_other(sockets: Sockets, sagemaker: StandIn) -> None:
    """The second request of a lane begins when the first one has ended."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create())
    await until(socket, "response.output_text.delta")
    await socket.send_json(create(input="Second"))
    await sockets.invoked(2)
    await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)  # it is queued
    assert len(sagemaker.bodies) == 1
    held.set()
    events = await until_end(socket, 2)
    kinds = [event["type"] for event in events if event["type"].endswith(("created", "completed"))]
    assert kinds == ["response.completed", "response.created", "response.completed"]
    await sockets.at_rest()
