"""What cancels do to the responses of a socket, and to those that are not there."""

import asyncio
from typing import Any

import pytest

from lambda_fn.recall.cancelling import Cancelling
from lambda_fn.socket.gateway import control, state
from lambda_fn.socket.gateway.control import unavailable
from tests.support.function import (
    FIRST,
    REST,
    StandIn,
)
from tests.support.gateway_sockets import Sockets, create, until, until_end


class _Asyncio:
    """The module `asyncio` with another `sleep`."""

    def __init__(self, sleep: Any) -> None:
        """Take it."""
        self.sleep = sleep

    def __getattr__(self, name: str) -> Any:
        """Return what the module has."""
        return getattr(asyncio, name)


async def test_cancel(sockets: Sockets, sagemaker: StandIn) -> None:
    """A cancel ends one lane, with its own last event, and leaves the other alone."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    for lane in ("a", "b"):
        await socket.send_json(create(stream_id=lane))
        await until(socket, "response.output_text.delta")
    await socket.send_json({"type": "response.cancel", "stream_id": "a"})
    [*_, failed] = await until_end(socket)
    assert (failed["type"], failed["stream_id"]) == ("response.failed", "a")
    assert failed["response"]["status"] == "cancelled"
    held.set()
    [*_, completed] = await until_end(socket)
    assert (completed["type"], completed["stream_id"]) == ("response.completed", "b")
    await sockets.at_rest()


async def test_a_cancel_that_was_not_carried_out(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client is told to try again, and the next cancel ends the response."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(stream_id="a"))
    await until(socket, "response.output_text.delta")
    sockets.gateway = sockets.control  # another function than the one that answers
    monkeypatch.setattr(state, "EARLY", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(Cancelling, "cancel", _fails)
        await socket.send_json({"type": "response.cancel", "stream_id": "a"})
        assert (await until(socket, "error"))["status"] == 503
    await socket.send_json({"type": "response.cancel", "stream_id": "a"})
    [*_, failed] = await until_end(socket)
    assert failed["response"]["status"] == "cancelled"
    await sockets.at_rest()


async def _fails(*_: Any) -> None:
    raise unavailable()


async def test_a_response_that_is_not_stopped_delays_no_other(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a client leaves, each of its responses is stopped, and what fails is raised then."""
    held, stopped = asyncio.Event(), list[str]()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    for lane in ("a", "b", "c"):
        await socket.send_json(create(stream_id=lane, store=False))
        await until(socket, "response.output_text.delta")
    sockets.gateway = sockets.control
    both = asyncio.Event()

    async def stop(control: control.Control, name: str, _: Any) -> None:
        stopped.append(name)
        if len(stopped) == 1:
            raise unavailable()
        if len(stopped) == 3:
            both.set()
        await both.wait()

    monkeypatch.setattr(control.Control, "_stop", stop)
    await socket.close()
    async with asyncio.timeout(60):
        await both.wait()
    monkeypatch.undo()
    held.set()
    await sockets.at_rest()
    assert len(set(stopped)) == 3


async def test_a_cancel_of_nothing(sockets: Sockets, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel that finds nothing is an error event, and the socket goes on."""
    monkeypatch.setattr(control, "EARLY", 0.0)
    socket = await sockets.open()
    await socket.send_json({"type": "response.cancel", "stream_id": "a"})
    [error] = await until_end(socket)
    assert (error["status"], error["error"]["code"]) == (404, "response_not_found")
    assert error["stream_id"] == "a"
    await sockets.at_rest()


async def test_cancels_of_nothing_keep_one_function_busy(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many cancels that find nothing are all told, and only one function waits with them."""
    woken, sleeping = asyncio.Event(), list[float]()

    async def sleep(seconds: float) -> None:
        sleeping.append(seconds)
        await woken.wait()

    monkeypatch.setattr(control, "asyncio", _Asyncio(sleep))
    monkeypatch.setattr(control, "EARLY", 0.0)
    socket = await sockets.open()
    names = [f"lane{number}" for number in range(20)]
    for name in names:
        await socket.send_json({"type": "response.cancel", "stream_id": name})
    await sockets.invoked(len(names))
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    assert len(sleeping) == 1
    woken.set()
    found = await until_end(socket, len(names))
    assert sorted(error["stream_id"] for error in found) == sorted(names)
    await sockets.at_rest()
