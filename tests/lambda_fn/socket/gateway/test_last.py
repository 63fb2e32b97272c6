"""Requests that go on from the last response of their lane, which is not stored."""

from tests.support.function import (
    FIRST,
    REST,
    StandIn,
)
from tests.support.gateway_sockets import Sockets, create, until_end


async def test_going_on(sockets: Sockets, sagemaker: StandIn) -> None:
    """A response that is not stored can be continued on its own connection, and on no other."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create(store=False))
    first = (await until_end(socket))[-1]["response"]
    await sockets.at_rest()
    follow = create(store=False, previous_response_id=first["id"], input="More")
    await socket.send_json(follow)
    assert (await until_end(socket))[-1]["type"] == "response.completed"
    contents = [message["content"] for message in sagemaker.bodies[-1]["messages"]]
    assert contents == ["Hi", "Hello world", "More"]
    other = await sockets.open()
    await other.send_json(follow)
    [error] = await until_end(other)
    assert error["error"]["code"] == "previous_response_not_found"
    await sockets.at_rest()


async def test_nothing_is_generated(sockets: Sockets, sagemaker: StandIn) -> None:
    """With `generate` false a request is only checked, and later ones go on from it."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    await socket.send_json(create(store=False, generate=False))
    events = await until_end(socket)
    assert [event["type"] for event in events] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    first = events[-1]["response"]
    assert (first["status"], first["output"], first["usage"]["total_tokens"]) == (
        *("completed", []),
        0,
    )
    assert not sagemaker.bodies
    await sockets.at_rest()
    await socket.send_json(create(store=False, previous_response_id=first["id"], input="More"))
    assert (await until_end(socket))[-1]["type"] == "response.completed"
    contents = [message["content"] for message in sagemaker.bodies[-1]["messages"]]
    assert contents == ["Hi", "More"]
    await sockets.at_rest()
