"""One ASGI request: the order of its messages, its failures, and the work after its response."""

import asyncio
import base64
import json
from typing import Any, Self

import pytest

from lambda_fn import limits
from lambda_fn.ids import new_request_id
from lambda_fn.runtime import cycle
from lambda_fn.runtime.api import RuntimeApi
from lambda_fn.runtime.cycle import accept_time
from lambda_fn.runtime.event import run_event
from lambda_fn.runtime.loop import serve
from tests.support.runtime_api import EVENT, Lambda, hello, run, unchunk


async def test_failure_after_the_start_is_in_the_trailers(lambda_: Lambda) -> None:
    """If the application fails within its response, trailers have the error in base 64."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        raise RuntimeError("secret detail")

    [(_, packets)] = await run(lambda_, app, EVENT)
    _, trailers = unchunk(b"".join(packets).partition(b"\r\n\r\n")[2])
    fields = dict(line.split(b": ") for line in trailers.strip().split(b"\r\n"))
    assert fields[b"Lambda-Runtime-Function-Error-Type"] == b"Runtime.RuntimeError"
    error = json.loads(base64.b64decode(fields[b"Lambda-Runtime-Function-Error-Body"]))
    assert error["errorType"] == "Runtime.RuntimeError"
    assert "secret" not in json.dumps(error)


async def test_failures_before_the_start(lambda_: Lambda) -> None:
    """A failure before the response goes to /error, and serving continues.

    The application may fail or not respond, or the event is invalid.
    """

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/raise":
            raise ValueError("x")

    received = await run(
        lambda_, app, {**EVENT, "rawPath": "/raise"}, {**EVENT, "rawPath": "/silent"}, {"test": 1}
    )
    assert [path.rpartition("/")[2] for path, _ in received] == ["error"] * 3
    kinds = [b"".join(packets).partition(b"\r\n\r\n")[2] for _, packets in received]
    assert [json.loads(kind)["errorType"] for kind in kinds] == [
        "Runtime.ValueError",
        "Runtime.NoResponse",
        "Runtime.InvalidEvent",
    ]


START: dict[str, Any] = {"type": "http.response.start", "status": 200, "headers": []}


PIECE: dict[str, Any] = {"type": "http.response.body", "body": b"x", "more_body": True}


LAST: dict[str, Any] = {"type": "http.response.body", "body": b"y"}


@pytest.mark.parametrize(
    ("sent", "unexpected", "state"),
    [
        ([], PIECE, "NONE"),
        ([], LAST, "NONE"),
        ([START], START, "BEGUN"),
        ([START, PIECE], START, "BEGUN"),
        ([START, PIECE], {"type": "http.response.trailers"}, "BEGUN"),
        ([START, LAST], LAST, "ENDED"),
        ([START, LAST], START, "ENDED"),
    ],
)
async def test_a_message_out_of_order_raises(
    lambda_: Lambda, sent: list[Any], unexpected: Any, state: str
) -> None:
    """A message out of order raises RuntimeError in the application.

    Its response ends as after any other failure.
    """
    raised: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in sent:
            await send(message)
        try:
            await send(unexpected)
        except RuntimeError as error:
            raised.append(str(error))
            raise

    (path, packets), _ = await run(
        lambda_, app, EVENT, EVENT
    )  # the second begins after the first has ended
    assert (
        raised[0] == f"ASGI message '{unexpected['type']}' is not expected: the response is {state}"
    )
    data = b"".join(packets).partition(b"\r\n\r\n")[2]
    if state == "NONE":
        assert (path.rpartition("/")[2], json.loads(data)["errorType"]) == (
            "error",
            "Runtime.RuntimeError",
        )
    else:
        chunks, trailers = unchunk(data)
        assert chunks[2:] == [message["body"] for message in sent if "body" in message]
        assert (b"Runtime.RuntimeError" in trailers) == (state == "BEGUN")


@pytest.mark.parametrize("sent", [[], [START, LAST]])
async def test_a_put_out_of_order_raises(lambda_: Lambda, sent: list[Any]) -> None:
    """A piece can be put only between the start of a response and its end."""
    raised: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in sent:
            await send(message)
        try:
            scope["aws.put"](b"x")
        except RuntimeError as error:
            raised.append(str(error))
            raise

    await run(lambda_, app, EVENT, EVENT)
    assert raised[0].startswith("no body is expected")


async def test_work_after_the_response(lambda_: Lambda) -> None:
    """Background work of the application ends after the response and before the next fetch.

    It may add further work.
    """
    answered, done = asyncio.Event(), asyncio.Event()

    async def last() -> None:
        await asyncio.sleep(0)
        assert lambda_.waiting == 0
        done.set()

    async def later(after: list[asyncio.Future[None]]) -> None:
        await answered.wait()
        assert lambda_.waiting == 0
        after.append(asyncio.ensure_future(last()))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        after = scope["aws.after"]
        after.append(asyncio.ensure_future(later(after)))
        await hello(scope, receive, send)

    server = asyncio.ensure_future(serve(app, RuntimeApi(lambda_.address)))
    async with asyncio.timeout(60):
        lambda_.events.put_nowait(json.dumps(EVENT).encode())
        await lambda_.requests.get()
        lambda_.ready.clear()
        answered.set()
        await lambda_.ready.wait()
    assert done.is_set()
    server.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server


class Slow:
    """A function whose client takes the end of its response late, or never.

    `settled` is set when the application ends, and `closed` by its work in the background.
    """

    def __init__(self, lambda_: Lambda, *, fails: bool = False) -> None:
        lambda_.accepting.clear()
        self.lambda_ = lambda_
        self.fails = fails
        self.settled, self.closed = asyncio.Event(), asyncio.Event()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer, settle, and close the log in the background."""
        scope["aws.after"].append(asyncio.ensure_future(self._close()))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        body = {"type": "http.response.body", "body": b"x", "more_body": self.fails}
        await send(body)
        self.settled.set()
        if self.fails:
            raise RuntimeError("unended")

    async def _close(self) -> None:
        await self.settled.wait()
        self.closed.set()

    async def __aenter__(self) -> Self:
        """Serve one request until it is settled."""
        self.server = asyncio.ensure_future(serve(self.app, RuntimeApi(self.lambda_.address)))
        await self.lambda_.ready.wait()
        self.lambda_.ready.clear()
        self.lambda_.events.put_nowait(json.dumps(EVENT).encode())
        await self.closed.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for the next fetch."""
        await self.lambda_.ready.wait()
        self.server.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.server


@pytest.mark.parametrize("leaves", [False, True], ids=["takes it", "leaves"])
async def test_a_slow_client_delays_no_settlement(lambda_: Lambda, leaves: bool) -> None:
    """What comes after the response ends while its client takes the rest.

    The next invocation is fetched once the client has all of it, or is gone.
    """
    async with asyncio.timeout(60), Slow(lambda_) as slow:
        assert slow.settled.is_set()
        await lambda_.requests.get()  # Lambda has the whole response, and its client has not
        assert lambda_.waiting == 0
        lambda_.leaves = leaves
        lambda_.accepting.set()


@pytest.mark.parametrize(
    ("fails", "limit"), [(False, "ACCEPT_TIMEOUT"), (True, "BREAK_TIMEOUT")], ids=["ends", "fails"]
)
async def test_a_client_that_never_takes_the_end(
    lambda_: Lambda, monkeypatch: pytest.MonkeyPatch, fails: bool, limit: str
) -> None:
    """It is left after some time, with its connection closed, and the environment goes on."""
    monkeypatch.setattr(limits, limit, 0.0)
    monkeypatch.setattr(cycle, "_LEAST", 0.0)
    async with asyncio.timeout(60):
        async with Slow(lambda_, fails=fails):
            pass
        lambda_.accepting.set()
        assert await lambda_.closed.get() == ["response"]


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        (540.0, limits.ACCEPT_TIMEOUT),
        (limits.ACCEPT_TIMEOUT + limits.ACCEPT_RESERVE, limits.ACCEPT_TIMEOUT),
        (100.0, 100.0 - limits.ACCEPT_RESERVE),
        (limits.ACCEPT_RESERVE, 1.0),
        (-5.0, 1.0),
    ],
)
def test_the_wait_ends_before_the_function(left: float, seconds: float) -> None:
    """A slow client is left before Lambda stops the function, which would end the environment."""
    assert accept_time(left) == seconds


async def test_an_event_without_a_request(lambda_: Lambda) -> None:
    """Its end is reported when all work is done, also that in the background."""
    done: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        async def later(name: str) -> None:
            await asyncio.sleep(0)
            done.append(name)
            if name == "later":  # what runs in the background may begin something itself
                scope["aws.after"].append(asyncio.ensure_future(later("last")))

        assert scope["type"] == "sluice.run"
        assert scope["aws.context"].remaining() > 0
        scope["aws.after"].append(asyncio.ensure_future(later("later")))
        done.append("app")

    [(path, packets)] = await run(lambda_, app, run_event(new_request_id()))
    assert path.endswith("/response")
    assert b"".join(packets).partition(b"\r\n\r\n")[2] == b"null"
    assert done == ["app", "later", "last"]


async def test_an_event_that_fails(lambda_: Lambda) -> None:
    """Its failure is reported without its message, and serving continues."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("secret detail")

    received = await run(lambda_, app, *(run_event(new_request_id()) for _ in range(2)))
    assert [path.rpartition("/")[2] for path, _ in received] == ["error"] * 2
    assert all(b"secret" not in b"".join(packets) for _, packets in received)
