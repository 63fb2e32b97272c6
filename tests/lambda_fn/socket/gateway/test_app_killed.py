"""Functions of sockets that are killed, or do not get their calls through."""

import asyncio
import contextlib
import uuid
from typing import Any, cast

import pytest

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.aws.functions import Functions, NotInvoked
from lambda_fn.runtime.api import Context
from lambda_fn.socket.core import Rate
from lambda_fn.socket.gateway import app
from lambda_fn.socket.gateway.app import Gateway
from lambda_fn.socket.gateway.messages import Closing
from lambda_fn.socket.gateway.state import State
from lambda_fn.socket.gateway.store import Socket
from tests.support.function import (
    CREDENTIALS,
    FIRST,
    REST,
    StandIn,
)
from tests.support.gateway_sockets import ENDS, Sockets, create, text_of, until, until_end
from tests.support.kept import Kept, events, head_of


class Killed(BaseException):
    """The function was killed."""


class Dying(Gateway):
    """A function that is killed after a part of each response: it never ends one."""

    log = "runs"
    """What it leaves: a log that runs or has ended, or none."""

    def __init__(self, sockets: Sockets, kept: Kept, log: str) -> None:
        """Write as `kept` does."""
        super().__init__(sockets.settings, sockets.http, lambda: CREDENTIALS)
        self._kept, self.log = kept, log
        self.answers = asyncio.Event()

    async def _answer(self, socket: Any, name: str, asked: Any, context: Context) -> bool:
        head = head_of("responses_stream", response_id=name)
        if self.log == "runs":
            await self._kept.flush(await self._kept.begin(head), 0, events("Hello"))
        elif self.log == "ended":
            await self._kept.whole(head)
        self.answers.set()
        never: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        return await never


@pytest.mark.parametrize(
    ("log", "last"), [("runs", "response.failed"), ("ended", "response.completed"), ("", "error")]
)
async def test_a_function_that_is_killed(
    sockets: Sockets,
    sagemaker: StandIn,
    kept: Kept,
    monkeypatch: pytest.MonkeyPatch,
    log: str,
    last: str,
) -> None:
    """Its response ends with its own last event, and the next request of its lane begins."""
    begun: list[Any] = []

    async def invoke_later(_functions: Any, function: str, event: Any) -> None:
        assert function == "sockets:live"
        begun.append(event)

    monkeypatch.setattr(Functions, "invoke_later", invoke_later)
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    sockets.gateway = dying = Dying(sockets, kept, log)
    await socket.send_json(create(stream_id="a"))
    await dying.answers.wait()
    killed = sockets.invocations[-1]
    sockets.gateway = sockets.answering
    await socket.send_json(create(stream_id="a"))
    await sockets.invoked(2)
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    await sockets.told(killed)
    [found] = await until_end(socket)
    assert (found["type"], found["stream_id"]) == (last, "a")
    if log == "runs":
        assert found["response"]["error"]["code"] == "server_error"
        assert text_of([found]) == ""
    # Whoever tells it again, or begins it again, changes nothing: the first one who takes the
    # request answers it.
    await sockets.told(killed)
    event, *others = begun
    assert others in ([], [event])
    await sockets._invoke(event)
    await sockets._invoke(event)
    kinds = [event["type"] for event in await until_end(socket)]
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")
    state = (await sockets.answering._store.find(event["requestContext"]["connectionId"])).state
    assert not state.runs


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("call", ["claim", "changed"])
async def test_a_table_that_does_not_answer(
    sockets: Sockets,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    *,
    carried_out: bool,
) -> None:
    """The lane of the request is told once, and its next request is answered."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    well, failed = getattr(sockets.answering._store, call), list[bool]()

    async def fail_once(*args: Any, **kwargs: Any) -> Any:
        if failed:
            return await well(*args, **kwargs)
        failed.append(True)
        if carried_out:
            await well(*args, **kwargs)
        raise MeterUnavailable("it is down")

    monkeypatch.setattr(sockets.answering._store, call, fail_once)
    await socket.send_json(create(stream_id="a"))
    [error] = await until_end(socket)
    assert (error["status"], error["stream_id"]) == (503, "a")
    await sockets.at_rest()
    await socket.send_json(create(stream_id="a"))
    events = await until_end(socket)
    assert (events[0]["type"], text_of(events)) == ("response.created", "Hello world")
    await sockets.at_rest()


async def test_a_table_that_is_down_when_a_response_ends(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its function waits for the table, and then answers the next request of the lane."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(stream_id="a"))
    await until(socket, "response.output_text.delta")
    await socket.send_json(create(stream_id="a"))
    await sockets.invoked(2)
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    well, failures = sockets.answering._store.changed, [True] * 3

    async def fail(*args: Any, **kwargs: Any) -> Any:
        if failures:
            failures.pop()
            raise MeterUnavailable("it is down")
        return await well(*args, **kwargs)

    monkeypatch.setattr(sockets.answering._store, "changed", fail)
    held.set()
    kinds = [event["type"] for event in await until_end(socket, 2)]
    assert [kind for kind in kinds if kind in ENDS] == ["response.completed"] * 2
    await sockets.at_rest()


async def test_a_table_that_stays_down(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The invocation fails, so that Lambda tells the function that brings the lane on."""
    monkeypatch.setattr(app, "_PATIENCE", -1.0)
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    well = sockets.answering._store.changed

    async def fail(connection_id: str, decide: Any, **kwargs: Any) -> Any:
        if "read" not in kwargs:
            raise MeterUnavailable("it is down")
        return await well(connection_id, decide, **kwargs)

    monkeypatch.setattr(sockets.answering._store, "changed", fail)
    await socket.send_json(create(stream_id="a"))
    await sockets.invoked(1)
    [task] = sockets.tasks
    with pytest.raises(app.Unsaved):
        await task
    kinds = [event["type"] for event in await until_end(socket)]
    assert kinds[-1] == "response.completed"


async def test_a_failure_in_one_lane_waits_for_the_others(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An invocation that fails ends after its other responses, which Lambda would stop."""
    held, ended = asyncio.Event(), list[str]()
    gateway = sockets.answering

    async def one(socket: Any, name: str, *_: Any) -> tuple[list[str], Any]:
        if name == "fails":
            raise app.Unsaved
        await held.wait()
        ended.append(name)
        return [], socket

    monkeypatch.setattr(gateway, "_one", one)
    socket: Any = Socket("c", Caller("k", "h", "1.2.3.4"), State(Rate(0.0)), {"n": 1})
    context: Any = None
    run = asyncio.create_task(gateway._run(socket, ["fails", "goes on"], context))
    for _ in range(10):  # turns of the loop, in which the failure comes
        await asyncio.sleep(0)
    held.set()
    with pytest.raises(app.Unsaved):
        await run
    assert ended == ["goes on"]


async def test_a_message_for_which_no_function_was_free(
    sockets: Sockets, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lane is told, whether it came as a message or as a request whose turn had come."""
    sagemaker.script = [FIRST, REST]
    socket = await sockets.open()
    event: dict[str, Any] = {}

    async def lost(event: dict[str, Any]) -> None:
        sockets.invocations.append((str(uuid.uuid4()), event))

    monkeypatch.setattr(sockets, "_invoke", lost)
    await socket.send_json(create(stream_id="a"))
    await sockets.invoked(1)
    await sockets.at_rest()
    event = sockets.invocations[-1][1]
    monkeypatch.undo()
    await sockets.told(("r1", event), begun=False)
    [error] = await until_end(socket)
    assert (error["error"]["code"], error["stream_id"]) == ("server_overloaded", "a")
    await sockets.at_rest()


async def test_lambda_does_not_take_the_next_request(
    sockets: Sockets, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The requests that wait in a lane are refused if no function can be asked to answer them."""

    async def invoke_later(_functions: Any, _function: str, _event: Any) -> None:
        raise NotInvoked("TooManyRequestsException")

    monkeypatch.setattr(Functions, "invoke_later", invoke_later)
    socket = await sockets.open()
    sockets.gateway = dying = Dying(sockets, kept, "")
    for count in range(3):
        await socket.send_json(create(stream_id="a"))
        await sockets.invoked(count + 1)
    await dying.answers.wait()
    while len(sockets.tasks) > 1:
        await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    for invocation in sockets.invocations[-3:]:
        await sockets.told(invocation)
    errors = await until_end(socket, 3)
    assert [error["error"]["code"] for error in errors] == [
        "interrupted",
        *["service_unavailable"] * 2,
    ]


@pytest.mark.parametrize("writes", [1, 2, 3, 4])
async def test_a_function_that_is_killed_when_a_client_leaves(
    sockets: Sockets,
    sagemaker: StandIn,
    streams: Any,
    monkeypatch: pytest.MonkeyPatch,
    writes: int,
) -> None:
    """The texts of the requests that waited are gone when Lambda has repeated the event."""
    held = asyncio.Event()
    sagemaker.script = [FIRST, held, REST]
    socket = await sockets.open()
    await socket.send_json(create(stream_id="a", store=True))
    await until(socket, "response.output_text.delta")
    for count, text in enumerate(("first that waits", "second that waits"), 2):
        await socket.send_json(create(stream_id="a", input=text))
        await sockets.invoked(count)
        while len(sockets.tasks) > 1:
            await asyncio.wait(sockets.tasks, return_when=asyncio.FIRST_COMPLETED)
    closing = Closing(sockets.invocations[-1][1]["requestContext"]["connectionId"])
    table, context, left = sockets.control._store._table, cast("Context", None), [writes]
    put = table.put

    async def killed(*args: Any, **kwargs: Any) -> None:
        if not left[0]:
            raise Killed
        left[0] -= 1
        await put(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(table, "put", killed)
        with contextlib.suppress(Killed):
            await sockets.control._disconnect(closing, context)
    await sockets.control._disconnect(closing, context)
    assert "that waits" not in str(streams.scan()["Items"])
    held.set()
    await sockets.at_rest()
