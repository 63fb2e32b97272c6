"""Cancelling a request at the model after its response was left early."""

import asyncio
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aiohttp import web

from lambda_fn import limits
from lambda_fn.http.connection import TransportError
from lambda_fn.settings import Model
from tests.support.function import (
    END,
    FINISH,
    FIRST,
    HELLO,
    START,
    USAGE,
    WHOLE,
    WORLD,
    Call,
    Reply,
    StandIn,
    exception_frame,
    lines,
    part,
)
from tests.support.replies import CHAT, STREAM, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")
FAILED = {"type": "error", "code": "engine_error", "message": "x"}
MALFORMED = {"type": "delta", "index": 7, "delta": {}, "tokens": 1}


@pytest.mark.parametrize(
    ("script", "left"),
    [
        ([part(WHOLE)], False),
        ([part(lines(START, HELLO, FAILED))], False),
        (
            [part(lines(START, HELLO))],
            False,
        ),  # its connection to the container ended, so its response has ended
        ([None], True),
        ([FIRST, None], True),
        ([FIRST, exception_frame("ModelStreamError")], True),
        ([FIRST + b"no frame at all", asyncio.Event()], True),
        ([part(lines(START, HELLO, MALFORMED)), asyncio.Event()], True),
        ([FIRST, asyncio.Event()], True),  # silent
    ],
    ids=["whole", "failed", "ended", "reset", "cut", "exception", "damaged", "malformed", "silent"],
)
async def test_what_may_still_run_is_cancelled(
    call: Call,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    script: Sequence[Any],
    left: bool,
) -> None:
    """A response that was left before the container's own end is cancelled by its id.

    If the cancel is confirmed, it is not repeated.
    """
    if isinstance(script[-1], asyncio.Event):
        monkeypatch.setattr(limits, "UPSTREAM_SILENCE", 0.2)
    sagemaker.script = script
    reply = await call(body=STREAM)
    assert sagemaker.cancelled == (
        [reply.headers["x-request-id"].removeprefix("req_")] if left else []
    )


async def test_an_endpoint_that_is_gone_is_asked_once(
    call: Call,
    sagemaker: StandIn,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is nothing to cancel where SageMaker knows no endpoint."""
    monkeypatch.setattr(limits, "CANCEL_FIRST_INTERVAL", 0.2)
    monkeypatch.setattr(limits, "CANCEL_TIMEOUT", 1.0)

    async def gone(_: int) -> bool:
        raise web.HTTPBadRequest(text='{"__type":"ValidationError"}')

    sagemaker.script = [FIRST, None]
    monkeypatch.setattr(sagemaker, "cancel", gone)
    await call(body=STREAM)
    assert '"cancelled":false,"tries":1,' in capsys.readouterr().out
    assert len(sagemaker.cancelled) == 1


@pytest.mark.parametrize(
    ("status", "original", "left"),
    [
        (424, 0, True),
        (424, None, True),
        (424, 500, False),
        (424, 400, False),
        (503, None, False),
        (400, None, False),
    ],
)
async def test_a_refusal_ends_it(
    call: Call, sagemaker: StandIn, status: int, original: int | None, left: bool
) -> None:
    """A rejected request does not run. One that SageMaker has stopped waiting for may still run."""
    sagemaker.status = status
    sagemaker.script = [
        json.dumps({"OriginalStatusCode": original, "OriginalMessage": ""}).encode()
    ]
    assert (await call(body=CHAT)).status >= 400
    assert len(sagemaker.cancelled) == left


async def test_an_endpoint_that_was_never_reached(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """A request that was not sent is not cancelled."""
    assert (await make_call(sagemaker_url="http://127.0.0.1:9")(body=CHAT)).status == 502
    assert sagemaker.cancelled == []


async def test_backends_without_a_cancel(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """A backend whose dialect has no cancel gets no call. Its stream is only closed."""
    models = {"m": Model(endpoint="endpoint-1", context_tokens=100, dialect="openai")}
    sagemaker.script = [None]
    assert (await make_call(models=models)(body=CHAT)).status == 502
    assert sagemaker.cancelled == []


async def test_a_caller_that_cannot_be_written_to(
    call: Call, sagemaker: StandIn, items: Any
) -> None:
    """If Lambda breaks the response off, the model's work is cancelled.

    Without a log, leaving cancels.
    """
    taken = asyncio.Event()
    sagemaker.script = [FIRST, taken, part(lines(WORLD)), asyncio.Event()]

    class Broken(Reply):
        """A sink that takes one piece and then fails."""

        @property
        def grown(self) -> Any:
            if len(self.chunks) > 1:
                raise TransportError("broken off")
            if self.chunks:
                taken.set()
            return asyncio.Event()

        @grown.setter
        def grown(self, _: object) -> None:
            return

    reply = Broken()
    with pytest.raises(TransportError):
        await call(body=STREAM, reply=reply)
    assert len(sagemaker.cancelled) == 1
    assert ledger_item(items, reply)["outcome"] == "cut"


class Clock:
    """A replacement for the module `time`. Its time moves only when a test moves it."""

    def __init__(self) -> None:
        """Start near the real time, because deadlines are made of it.

        Whole and halved seconds add up exactly.
        """
        self.now = float(math.ceil(time.monotonic()))

    def monotonic(self) -> float:
        """Return the time that the test has set, in seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock of `lambda_fn.stream.cancel`, and return it. Real waits are short."""
    clock = Clock()
    monkeypatch.setattr("lambda_fn.stream.cancel.time", clock)
    monkeypatch.setattr(limits, "CANCEL_FIRST_INTERVAL", 1 / 256)
    monkeypatch.setattr(limits, "CANCEL_INTERVAL", 1 / 128)
    return clock


async def test_it_is_repeated_until_it_is_confirmed(
    call: Call, sagemaker: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancel is repeated until an instance confirms it. Other instances do not have the request.

    The next call does not wait for their responses.
    """
    monkeypatch.setattr(limits, "CANCEL_TIMEOUT", 60)
    never = asyncio.Event()

    async def cancel(number: int) -> bool:
        if number < 3:
            clock.now += limits.CANCEL_INTERVAL  # the next call is due
        if number < 2:
            await never.wait()  # like an instance that waits for the request to arrive
        return number == 3

    monkeypatch.setattr(sagemaker, "cancel", cancel)
    sagemaker.script = [FIRST, None]
    await call(body=STREAM)
    assert len(sagemaker.cancelled) == 4
    assert len(set(sagemaker.cancelled)) == 1


async def test_when_calls_are_due(
    call: Call, sagemaker: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call comes soon after the first, and the later ones at longer intervals."""
    monkeypatch.setattr(limits, "CANCEL_TIMEOUT", 60)
    began, due = clock.now, [0.0, 1 / 256, 3 / 256, 5 / 256]
    times: list[float] = []

    async def cancel(number: int) -> bool:
        times.append(clock.now - began)
        clock.now = began + (due[number + 1] if number < 3 else 1)
        return number == 3

    monkeypatch.setattr(sagemaker, "cancel", cancel)
    sagemaker.script = [FIRST, None]
    await call(body=STREAM)
    assert times == due


async def test_it_is_not_repeated_without_end(
    call: Call,
    sagemaker: StandIn,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a confirmation, a cancel ends after some attempts with pauses.

    No instance may confirm or answer it, or SageMaker rejects it.
    """
    monkeypatch.setattr(limits, "CANCEL_TIMEOUT", 60)
    sagemaker.script = [None]
    for what in ("not here", "silent", "refused"):
        times: list[float] = []

        async def cancel(_: int, what: str = what, times: list[float] = times) -> bool:
            times.append(clock.now)
            clock.now += limits.CANCEL_INTERVAL
            if what == "silent" and len(times) < limits.CANCEL_MAX_ATTEMPTS:
                await asyncio.Event().wait()
            if what == "silent":  # the last answer comes when the time is up
                clock.now += limits.CANCEL_TIMEOUT
            if what == "refused":
                raise web.HTTPTooManyRequests
            return False

        monkeypatch.setattr(sagemaker, "cancel", cancel)
        await call(body=STREAM)
        pauses = [after - before for before, after in itertools.pairwise(times)]
        tries = limits.CANCEL_MAX_ATTEMPTS * (2 if what == "refused" else 1)
        assert pauses == [limits.CANCEL_INTERVAL] * (tries - 1)
        logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        [said] = [line for line in logged if line["event"] == "cancel"]
        failed = tries if what == "refused" else 0
        assert (said["cancelled"], said["tries"], said["failed"]) == (False, tries, failed)


async def test_calls_that_fail_take_no_attempts(
    call: Call, sagemaker: StandIn, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If an endpoint answers no call for a while, the cancel is made when it does."""
    monkeypatch.setattr(limits, "CANCEL_TIMEOUT", 60)

    async def cancel(number: int) -> bool:
        clock.now += limits.CANCEL_INTERVAL
        if number < limits.CANCEL_MAX_ATTEMPTS + 1:
            raise web.HTTPServiceUnavailable
        return True

    monkeypatch.setattr(sagemaker, "cancel", cancel)
    sagemaker.script = [FIRST, None]
    await call(body=STREAM)
    assert len(sagemaker.cancelled) == limits.CANCEL_MAX_ATTEMPTS + 2


async def test_no_response_waits_for_it(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller has its whole response before the model has confirmed the cancel."""
    answered = asyncio.Event()
    reply = Reply()

    async def cancel(_: int) -> bool:
        await reply.until(lambda: reply.whole)
        answered.set()
        return True

    monkeypatch.setattr(sagemaker, "cancel", cancel)
    for body, script in ((CHAT, [None]), (STREAM, [FIRST, None])):
        sagemaker.script = script
        reply = Reply()
        answered.clear()
        await call(body=body, reply=reply)
        assert answered.is_set()


async def test_another_request_goes_on(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one request is cancelled, another one is served."""
    asked, release = asyncio.Event(), asyncio.Event()

    async def cancel(_: int) -> bool:
        asked.set()
        await release.wait()
        return True

    monkeypatch.setattr(sagemaker, "cancel", cancel)
    sagemaker.script = [None]
    first = asyncio.ensure_future(call(body=STREAM))
    await asked.wait()
    sagemaker.script = [part(lines(START, HELLO, WORLD, FINISH, USAGE, END))]
    assert text(await call(body=STREAM)) == "Hello world"
    release.set()
    await first
