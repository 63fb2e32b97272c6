"""Calls of a webhook: their form, their signature, their repeats, and where they may go."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.background import webhooks
from lambda_fn.background.webhooks import Notice, Webhook
from lambda_fn.events import End
from lambda_fn.http.connection import Connection
from lambda_fn.stream_log.keys import NOTICE
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
NOTICE_OF = Notice("01abc", "completed", int(NOW), 0)


@dataclass
class Receiver:
    """A webhook, which answers with the next of `statuses`, and the last one then."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [200])
    calls: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        """Keep the call."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append(({**headers, "path": request.raw_path}, await request.read()))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status, headers={"Location": "/elsewhere"})

    def webhook(self, path: str = "/hook?a=b") -> Webhook:
        """Return the webhook, connected without a check of its address."""

        async def connect(connection: Connection, host: str) -> None:
            port = int(self.url.rpartition(":")[2])
            await connection.loop.create_connection(lambda: connection, "127.0.0.1", port)

        return Webhook(f"https://hooks.example.org{path}", SECRET, connect)


@pytest.fixture(name="receiver")
async def _receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    monkeypatch.setattr(webhooks, "TIMEOUT", 60.0)  # the machine may be busy
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    async with TestServer(app) as server:
        receiver.url = f"http://127.0.0.1:{server.port}"
        yield receiver


async def noted(ground: Ground, status: Any = "completed") -> Notice:
    """Note the end of a response, and return the notice."""
    head = ground.stored(status=status, ended=NOW + 0.5, event=End())
    await webhooks.put(ground.table, head)
    found = await webhooks.find(ground.table, head.response_id)
    assert found is not None
    return found


async def due(ground: Ground, now: float) -> list[Notice]:
    """Return what is due."""
    return [it async for it in webhooks.due(ground.table, now=now)]


async def test_form_and_signature(receiver: Receiver) -> None:
    """An event has OpenAI's form and no content, and is signed as Standard Webhooks has it."""
    assert await receiver.webhook().call(NOTICE_OF, now=NOW + 1.5) is None
    [(headers, body)] = receiver.calls
    assert json.loads(body) == {
        "id": "evt_01abc",
        "object": "event",
        "created_at": int(NOW),
        "type": "response.completed",
        "data": {"id": "resp_01abc"},
    }
    assert (headers["path"], headers["host"]) == ("/hook?a=b", "hooks.example.org")
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "evt_01abc"
    assert headers["webhook-timestamp"] == str(int(NOW) + 1)
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    text = f"evt_01abc.{int(NOW) + 1}.".encode() + body
    expected = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        (SECRET, b"0123456789abcdef0123456789abcdef"),
        (SECRET.removeprefix("whsec_"), b"0123456789abcdef0123456789abcdef"),
        ("any text at all", b"any text at all"),
    ],
)
def test_secrets(secret: str, key: bytes) -> None:
    """A secret is base64, with the prefix of Standard Webhooks or without, or any other text."""
    signature = Webhook("https://a.bc", secret).signature("evt_1", 7, b"{}")
    expected = hmac.new(key, b"evt_1.7.{}", hashlib.sha256).digest()
    assert signature == "v1," + base64.b64encode(expected).decode()


@pytest.mark.parametrize("status", [301, 400, 410, 500])
async def test_failures(receiver: Receiver, status: int) -> None:
    """Any answer but 2xx is a failure, and no redirect is followed."""
    receiver.statuses = [status]
    assert await receiver.webhook().call(NOTICE_OF, now=NOW) == f"status_{status}"
    assert len(receiver.calls) == 1


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "10.0.0.1", "169.254.169.254"])
async def test_private_addresses(host: str) -> None:
    """A name that leads to an inner address is not called."""
    webhook = Webhook(f"https://{host}/", SECRET)
    assert await webhook.call(NOTICE_OF, now=NOW) == "no_public_address"


async def test_a_silent_receiver(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that is not answered in time has failed."""
    monkeypatch.setattr(webhooks, "TIMEOUT", 0.0)
    assert await receiver.webhook().call(NOTICE_OF, now=NOW) == "timeout"


async def test_nobody_listens() -> None:
    """A host that cannot be reached is a failure."""

    async def connect(connection: Connection, host: str) -> None:
        raise ConnectionRefusedError

    webhook = Webhook("https://a.bc/", SECRET, connect)
    assert await webhook.call(NOTICE_OF, now=NOW) == "ConnectionRefusedError"


async def test_an_end_is_noted_once(ground: Ground) -> None:
    """A second note changes nothing, and what runs cannot be noted."""
    first = await noted(ground)
    assert (first.status, first.ended, first.attempts) == ("completed", int(NOW), 0)
    assert await noted(ground, "failed") == first
    [item] = ground.items()
    assert item.keys() <= NOTICE.keys()
    with pytest.raises(ValueError, match="has not ended"):
        await webhooks.put(ground.table, ground.stored())


async def test_a_delivered_notice(ground: Ground, receiver: Receiver) -> None:
    """An event that was taken is not sent again, also if its end is noted once more."""
    notice = await noted(ground)
    assert await due(ground, NOW) == [notice]
    assert await webhooks.deliver(ground.table, receiver.webhook(), notice, now=NOW)
    again = await noted(ground)
    assert again.told
    assert await due(ground, NOW + 599) == []
    [left] = await due(ground, NOW + 600)
    assert not await webhooks.deliver(ground.table, receiver.webhook(), left, now=NOW + 600)
    assert ground.items() == []
    assert len(receiver.calls) == 1


async def test_repeats(ground: Ground, receiver: Receiver) -> None:
    """A call that failed is repeated ever later, with the same id, until three days are over."""
    await noted(ground)
    receiver.statuses = [500]
    now, times = NOW, []
    while found := await due(ground, now) or ground.items():
        if isinstance(found[0], Notice):
            times.append(now - NOW)
            assert not await webhooks.deliver(ground.table, receiver.webhook(), found[0], now=now)
        else:
            now = found[0]["due"]
    pauses = [b - a for a, b in pairwise(times)]
    assert pauses[:4] == [60, 300, 900, 1800]
    assert pauses == sorted(pauses)
    assert max(pauses) == 28_800
    assert webhooks.GIVE_UP <= times[-1] < webhooks.GIVE_UP + 28_800
    assert len(receiver.calls) == len(times) - 1
    assert {headers["webhook-id"] for headers, _ in receiver.calls} == {f"evt_{ground.response_id}"}


async def test_two_callers(ground: Ground, receiver: Receiver) -> None:
    """Of two that deliver the same notice at once, one calls."""
    notice = await noted(ground)
    receiver.statuses = [500]
    for _ in range(2):
        assert not await webhooks.deliver(ground.table, receiver.webhook(), notice, now=NOW)
    assert len(receiver.calls) == 1


async def test_the_table_is_down(ground: Ground, receiver: Receiver) -> None:
    """The webhook is not called if it is not known that nobody else does."""
    notice = await noted(ground)
    ground.fates[:] = [Fate.UNANSWERED]
    with pytest.raises(MeterUnavailable):
        await webhooks.deliver(ground.table, receiver.webhook(), notice, now=NOW)
    assert receiver.calls == []
    [later] = await due(ground, NOW + 60)
    assert await webhooks.deliver(ground.table, receiver.webhook(), later, now=NOW + 60)
