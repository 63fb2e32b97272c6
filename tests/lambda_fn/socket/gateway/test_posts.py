"""Posts to sockets: their order, their pace, and what fails."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from lambda_fn import limits
from lambda_fn.http.client import Client
from lambda_fn.socket.gateway.posts import ClientGone, Outbox, Posts
from tests.support.function import CREDENTIALS
from tests.support.sockets import Clients


class Api:
    """Answers `@connections` with the statuses in `statuses`, and then with 200."""

    def __init__(self) -> None:
        """Nothing was called."""
        self.statuses: list[int] = []
        self.calls: list[tuple[str, str, bytes]] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a call."""
        assert request.headers["Authorization"].startswith(
            f"AWS4-HMAC-SHA256 Credential={CREDENTIALS.access_key}/"
        )
        assert "/eu-west-1/execute-api/" in request.headers["Authorization"]
        self.calls.append((request.method, request.raw_path, await request.read()))
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200)


@pytest.fixture
async def api_posts(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Api, Posts]]:
    """Yield an API and the posts to it. Nothing waits between attempts."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    api, http = Api(), Client()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/responses"
    yield api, Posts(http, url=url, region="eu-west-1", credentials=lambda: CREDENTIALS)
    http.close()
    await runner.cleanup()


async def test_calls(api_posts: tuple[Api, Posts]) -> None:
    """Each call has its method, and the id in the path with its `=` escaped."""
    api, posts = api_posts
    await posts.post("abc=", b"data")
    assert await posts.is_open("abc=")
    await posts.close("abc=")
    path = "/responses/@connections/abc%3D"
    assert api.calls == [("POST", path, b"data"), ("GET", path, b""), ("DELETE", path, b"")]
    api.statuses = [410]
    assert not await posts.is_open("abc=")


async def test_a_post_that_is_throttled_is_made_again(api_posts: tuple[Api, Posts]) -> None:
    """Throttled calls and failures of the service are repeated, in their place."""
    api, posts = api_posts
    api.statuses = [429, 500, 503]
    await posts.post("c", b"data")
    assert [body for _, _, body in api.calls] == [b"data"] * 4


@pytest.mark.parametrize("status", [410, 403, 400])
async def test_a_client_that_cannot_be_reached(api_posts: tuple[Api, Posts], status: int) -> None:
    """A connection that is gone is told to the response."""
    api, posts = api_posts
    api.statuses = [status]
    with pytest.raises(ClientGone):
        await posts.post("c", b"data")
    assert len(api.calls) == 1


async def test_a_message_that_cannot_be_sent(
    api_posts: tuple[Api, Posts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket is closed: its client would wait for the message forever."""
    monkeypatch.setattr(limits, "META_BACKOFF_MAX", 0.0)
    api, posts = api_posts
    api.statuses = [429, 503] * 4 + [204]
    with pytest.raises(ClientGone):
        await posts.post("c", b"data")
    assert [method for method, _, _ in api.calls] == ["POST"] * 8 + ["DELETE"]


@pytest.mark.parametrize(
    ("statuses", "is_closed", "calls"),
    [
        ([204], True, 1),
        ([410], True, 1),
        ([403], False, 1),
        ([429, 503, 204], True, 3),
        ([429] * 9, False, 8),
    ],
)
async def test_a_socket_is_closed(
    api_posts: tuple[Api, Posts],
    monkeypatch: pytest.MonkeyPatch,
    statuses: list[int],
    *,
    is_closed: bool,
    calls: int,
) -> None:
    """A call that is throttled is made again. Unless one is carried out, the socket may be open."""
    monkeypatch.setattr(limits, "META_BACKOFF_MAX", 0.0)
    api, posts = api_posts
    api.statuses = statuses
    assert await posts.close("c") is is_closed
    assert len(api.calls) == calls


def delta(text: str, number: int) -> bytes:
    """Return a delta."""
    event = {"type": "response.output_text.delta", "item_id": "i", "delta": text}
    return json.dumps({**event, "sequence_number": number}).encode()


class Slow(Clients):
    """Clients whose first post is under way until `go` is set."""

    def __init__(self) -> None:
        """Nothing is under way."""
        super().__init__()
        self.go, self.under_way = asyncio.Event(), asyncio.Event()
        self.most = self.now = 0

    async def post(self, connection_id: str, data: bytes) -> None:
        """Wait, and keep a message."""
        self.now += 1
        self.most = max(self.most, self.now)
        self.under_way.set()
        await self.go.wait()
        self.now -= 1
        await super().post(connection_id, data)


def outbox(clients: Clients) -> Outbox:
    """Return the queue of one response."""
    return Outbox(clients, "c")  # type: ignore[arg-type] # as far as it posts


async def test_what_comes_meanwhile_is_gathered() -> None:
    """One post is under way. The deltas that come meanwhile go together, in their order."""
    clients = Slow()
    box = outbox(clients)
    await box.put([delta("a", 1)])
    await clients.under_way.wait()
    for number, text in enumerate("bcd", 2):
        await box.put([delta(text, number)])
    await box.put([b'{"type":"response.completed"}'])
    clients.go.set()
    await box.drain()
    assert [(one["type"][9:], one.get("delta")) for one in clients.to("c")] == [
        ("output_text.delta", "a"),
        ("output_text.delta", "bcd"),
        ("completed", None),
    ]
    assert clients.most == 1


async def test_events_that_are_no_deltas_are_not_held_back() -> None:
    """Each other event is a message of its own, at once."""
    clients = Clients()
    box = outbox(clients)
    await box.put([b'{"type":"a"}', b'{"type":"b"}'])
    await box.drain()
    assert [one["type"] for one in clients.to("c")] == ["a", "b"]


async def test_a_client_that_has_left() -> None:
    """A response learns at its next event that its client has left, and posts nothing more."""
    clients = Clients(gone={"c"})
    box = outbox(clients)
    await box.put([b'{"type":"a"}'])
    with pytest.raises(ClientGone):
        await box.drain()
    with pytest.raises(ClientGone):
        await box.put([b'{"type":"b"}'])
    assert clients.posted == []


async def test_a_client_that_does_not_take_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """While too much waits, the response waits too."""
    monkeypatch.setattr(limits, "POST_WAITING", 10)
    clients = Slow()
    box = outbox(clients)
    await box.put([b'{"type":"a"}'])
    await clients.under_way.wait()
    waiting = asyncio.create_task(box.put([b'{"type":"long enough"}']))
    await asyncio.sleep(0)
    assert not waiting.done()
    clients.go.set()
    await waiting
    await box.drain()
    assert len(clients.to("c")) == 2
