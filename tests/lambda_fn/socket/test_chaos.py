"""Sockets that break at any message: nothing stays open, whatever they were doing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.metering.accounts import Account
from tests.support.asgi_sockets import CREATE, ENDS, Connect, Socket
from tests.support.function import FIRST, KEY_ID, StandIn

pytestmark = pytest.mark.usefixtures("account")

DURABLE = {**CREATE, "sluice": {"durable": True}}
SCENARIOS: dict[str, list[dict[str, Any] | str]] = {
    "lanes": [{**CREATE, "stream_id": "a"}, {**CREATE, "stream_id": "a"}],
    "logged": [DURABLE],
    "mixed": [{**CREATE, "generate": False, "stream_id": "a"}, "{", CREATE],
    "hanging": [
        {**CREATE, "stream_id": "a"},
        {**CREATE, "stream_id": "b"},
    ],
}


class Fragile(Socket):
    """A socket whose client leaves with a number of messages, the acceptance included."""

    def __init__(self, messages: int) -> None:
        super().__init__()
        self._messages = messages

    async def send(self, message: Any) -> None:
        """Take a message, or fail as a server does when its client has left."""
        if self.sent >= self._messages:
            self.leave()
            raise OSError("the client has left")
        await super().send(message)
        if self.sent >= self._messages:
            self.leave()


async def ends(socket: Socket, count: int, *, cancels: bool) -> None:
    """Wait for the ends of some responses. With `cancels`, each one is cancelled at its text."""
    while count:
        event = await socket.event()
        count -= event["type"] in ENDS
        if cancels and event["type"] == "response.output_text.delta":
            socket.put({"type": "response.cancel", "stream_id": event["stream_id"]})


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_nothing_stays_open(
    make_connect: Callable[..., Connect],
    streams: Any,
    items: Any,
    account: dict[str, str],
    sagemaker: StandIn,
    scenario: str,
) -> None:
    """Wherever the client leaves, each request is settled, and its hold and its log have ended."""
    connect = make_connect(stream_table=streams.name, store_default=False)
    messages = SCENARIOS[scenario]
    if scenario == "hanging":
        sagemaker.script_of = lambda _: (FIRST, asyncio.Event())
    is_whole, after = False, 1
    while not is_whole:
        async with connect(socket=Fragile(after)) as socket:
            for message in messages:
                socket.put(message)
            ending = asyncio.ensure_future(
                ends(socket, len(messages), cancels=scenario == "hanging")
            )
            gone = asyncio.ensure_future(socket.left.wait())
            await asyncio.wait({ending, gone}, return_when=asyncio.FIRST_COMPLETED)
            is_whole = not socket.left.is_set()
            for task in (ending, gone):
                task.cancel()
        held = Account.of(items.get_item(Key=account)["Item"])
        assert held.in_flight == {}, after
        own = [it for it in items.scan()["Items"] if it.get("key") == KEY_ID]
        assert {it["state"] for it in own if it["pk"].startswith("LEDGER#")} <= {"SETTLED"}, after
        heads = [it for it in streams.scan()["Items"] if it["sk"] == "HEAD"]
        assert {it["status"] for it in heads} <= {"completed", "cancelled"}, after
        after += 1
    assert after > 4
