"""Messages of a socket in every order, more than once, on functions that are killed.

The answer to a call of DynamoDB may be lost, too, and others change the socket before the call is
made again. That alone must change nothing: no request may end twice, or never.

moto's DynamoDB carries out the real calls. Hypothesis draws what a client sends in two lanes and
the default one, in which order and how often the functions get it, and when each of them is killed.
Lambda tells of those that were killed, or it does not. The model is left out: a request runs until
the test ends it.
"""

import asyncio
import json
import os
import uuid
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError
from lambda_fn.http.connection import TransportError
from lambda_fn.runtime.api import Context
from lambda_fn.settings import Model, Settings
from lambda_fn.socket.core import Rate
from lambda_fn.socket.gateway import control, store
from lambda_fn.socket.gateway.app import Gateway
from lambda_fn.socket.gateway.messages import Message, begin_event, read
from lambda_fn.socket.gateway.state import State
from lambda_fn.socket.gateway.store import Socket
from lambda_fn.socket.messages import Cancel, Create, Invalid, Resume
from lambda_fn.socket.messages import read as read_message
from tests.support.network import Answer, Fate, Killed, Network, delete_table, operate
from tests.support.sockets import Clients, event
from tests.support.stream_tables import stream_table

EXAMPLES = int(os.environ.get("SLUICE_LOG_EXAMPLES", "40"))
START = 1_800_000_000.0
CONNECTION = "c="
lanes = st.sampled_from(["a", "b", None])
numbers = st.integers(0, 30)
kills = st.none() | st.tuples(
    st.integers(0, 8), st.sampled_from([Fate.KILLED_BEFORE, Fate.KILLED_AFTER])
)
losses = st.none() | st.integers(0, 8)


class Slow(Network):
    """A network that loses the answer to one call. It is noticed when `noticed` is set."""

    def __init__(self, fate: Any, lost: int | None) -> None:
        """`lost` is the number of the call."""
        super().__init__(fate)
        self.count, self.lost = 0, lost
        self.noticed = asyncio.Event()

    async def request(self, *args: Any, **kwargs: Any) -> Answer:
        """Make a call, and wait for the moment at which its loss is noticed."""
        number, self.count = self.count, self.count + 1
        answer = await super().request(*args, **kwargs)
        if number == self.lost:
            await self.noticed.wait()
            raise TransportError("no response in time")
        return answer


class Function(Gateway):
    """A function that gets one event. `kill` is the call at which it ends, and how; `lost` is the
    call whose answer is lost.
    """

    def __init__(
        self, machine: "Sockets", kill: tuple[int, Fate] | None, lost: int | None = None
    ) -> None:
        """Create a network for this machine alone."""
        self.machine = machine
        self.calls = 0
        self.kill = kill
        self.network = Slow(self.fate, lost)
        network: Any = self.network
        super().__init__(
            machine.settings, network, lambda: Credentials("a", "b", ""), now=lambda: machine.now
        )
        self._posts: Any = machine.clients
        self.task: asyncio.Task[Any] | None = None
        self.event = b""
        self.id = str(uuid.uuid4())
        self.dead = False

    def fate(self, _target: str) -> Fate:
        """Return what happens to a call."""
        self.calls += 1
        if self.kill is not None and self.calls > self.kill[0]:
            return self.kill[1] if self.calls == self.kill[0] + 1 else Fate.KILLED_BEFORE
        return Fate.WELL

    async def _answer(
        self, socket: Socket, name: str, asked: Create | Cancel | Resume | Invalid, context: Context
    ) -> bool:
        """Run until the test ends the response."""
        del socket, asked, context
        ended = asyncio.Event()
        assert name not in self.machine.running
        self.machine.started.append(name)
        self.machine.running[name] = (self, ended)
        await ended.wait()
        del self.machine.running[name]
        self.machine.ended[name] = 1
        return True

    async def _finish(
        self, socket: Socket, name: str, context: Context, error: APIError | None = None
    ) -> None:
        """Send the last event of a response. The client knows it again by its number."""
        del socket, context, error
        self.machine.ended[name] = 1

    async def _hand_over(self, connection_id: str, names: list[str]) -> None:
        """Have requests answered in another invocation."""
        if names:
            self.machine.begun.append(json.dumps(begin_event(connection_id, names)).encode())

    async def _tell(self, connection_id: str, error: APIError, stream_id: str | None) -> None:
        """Count the errors that end a request: a cancel of nothing ends none."""
        if error.code != "response_not_found":
            self.machine.refused[stream_id] += 1
        await super()._tell(connection_id, error, stream_id)

    async def _stop(self, name: str, socket: Socket) -> None:
        """End a response that runs, as its log would."""
        del socket
        self.machine.stopped.add(name)
        if name in self.machine.running:
            self.machine.running[name][1].set()


class Sockets(RuleBasedStateMachine):
    """The state machine."""

    def __init__(self) -> None:
        """Create StreamTable, and open a socket."""
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for limit in ("META_BACKOFF", "META_BACKOFF_MAX"):
            self.patch.setattr(limits, limit, 0.0)
        self.patch.setattr(control, "EARLY", 0.0)
        self.patch.setattr(store, "_PAUSE", 0.0)
        self.now = START
        name = f"streams-{uuid.uuid4().hex}"
        operate("CreateTable", **stream_table(name))
        self.settings = Settings(
            region="eu-west-1",
            usage_table="usage",
            models={"m": Model(endpoint="e", context_tokens=100)},
            origin_secrets=("s",),
            dynamodb_url="https://dynamodb.eu-west-1.amazonaws.com",
            sagemaker_url="http://localhost:1",
            stream_table=name,
            websocket_url="ws://localhost:1/responses",
        )
        self.loop = asyncio.new_event_loop()
        self.clients = Clients()
        self.sent: list[bytes] = []
        self.lane_of: dict[str, str | None] = {}
        self.sent_at: dict[str, float] = {}
        self.started: list[str] = []
        self.stopped: set[str] = set()
        self.running: dict[str, tuple[Function, asyncio.Event]] = {}
        self.functions: list[Function] = []
        self.untold: list[Function] = []
        self.begun: list[bytes] = []
        self.ended: dict[str, int] = {}
        self.refused: Counter[str | None] = Counter()
        self.is_sure = True
        """Every function that was killed is told of, or will be."""

    @initialize()
    def begin(self) -> None:
        """Open the socket."""
        opener = Function(self, None)
        caller = Caller(key_id="key", key_hash="hash")
        self.loop.run_until_complete(opener._store.open(CONNECTION, caller))

    def settle(self) -> None:
        """Run everything until it waits."""

        async def turns() -> None:
            for _ in range(400):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())
        for function in self.functions:
            task = function.task
            if task is not None and task.done() and not function.dead:
                error = task.exception()
                assert error is None or isinstance(error, Killed), error
                if error is not None:
                    self.die(function)

    def die(self, function: Function) -> None:
        """End a function with all that it runs."""
        function.dead = True
        self.untold.append(function)
        for name, (owner, _) in list(self.running.items()):
            if owner is function:
                del self.running[name]
        if function.task is not None:
            function.task.cancel()

    def deliver(self, data: bytes, kill: tuple[int, Fate] | None, lost: int | None = None) -> None:
        """Invoke a function with an event."""
        function = Function(self, kill, lost)
        function.event = data
        self.functions.append(function)
        # A function of its own gets the cancels, and nobody is told when that one is killed.
        self.is_sure = self.is_sure and (kill is None or not isinstance(_asked(data), Cancel))

        async def answer() -> None:
            await function.answer(data, Context(function.id, 4e9, "arn", "", ""))

        function.task = self.loop.create_task(answer())
        self.settle()

    @rule(lane=lanes, late=st.booleans(), kill=kills, lost=losses)
    def create(
        self, lane: str | None, *, late: bool, kill: tuple[int, Fate] | None, lost: int | None
    ) -> None:
        """Send a request, which comes at once or later."""
        self.now += 0.5
        data = event(CONNECTION, body={"type": "response.create", **_lane(lane)}, sent=self.now)
        self.sent.append(data)
        if not late:
            self.deliver(data, kill, lost)

    @rule(lane=lanes, late=st.booleans(), kill=kills, lost=losses)
    def cancel(
        self, lane: str | None, *, late: bool, kill: tuple[int, Fate] | None, lost: int | None
    ) -> None:
        """Send a cancel, which comes at once or later."""
        self.now += 0.5
        data = event(CONNECTION, body={"type": "response.cancel", **_lane(lane)}, sent=self.now)
        self.sent.append(data)
        if not late:
            self.deliver(data, kill, lost)

    @precondition(lambda self: any(not one.network.noticed.is_set() for one in self.functions))
    @rule(number=numbers)
    def notice(self, number: int) -> None:
        """Make a function notice that an answer was lost."""
        waiting = [one for one in self.functions if not one.network.noticed.is_set()]
        waiting[number % len(waiting)].network.noticed.set()
        self.settle()

    @precondition(lambda self: self.sent)
    @rule(number=numbers, kill=kills)
    def come(self, number: int, kill: tuple[int, Fate] | None) -> None:
        """Deliver something that was sent: for the first time, or again."""
        self.deliver(self.sent[number % len(self.sent)], kill)

    @precondition(lambda self: self.running)
    @rule(number=numbers)
    def end(self, number: int) -> None:
        """End a response."""
        _, ended = list(self.running.values())[number % len(self.running)]
        ended.set()
        self.settle()

    @precondition(lambda self: self.functions)
    @rule(number=numbers)
    def killed(self, number: int) -> None:
        """Kill a function that waits for its model."""
        function = self.functions[number % len(self.functions)]
        if function.task is not None and not function.task.done():
            self.is_sure = self.is_sure and not isinstance(_asked(function.event), Cancel)
            self.die(function)
            self.settle()

    @precondition(lambda self: self.untold)
    @rule(number=numbers)
    def tell(self, number: int) -> None:
        """Tell the control function that a function was killed."""
        function = self.untold.pop(number % len(self.untold))
        record = {
            "requestContext": {"requestId": function.id, "condition": "RetriesExhausted"},
            "requestPayload": json.loads(function.event),
        }
        self.deliver(json.dumps(record).encode(), None)
        while self.begun:
            self.deliver(self.begun.pop(), None)

    @invariant()
    def each_request_begins_once(self) -> None:
        """No request is answered twice, however often it comes."""
        assert max(Counter(self.started).values(), default=0) <= 1

    @invariant()
    def a_lane_runs_one(self) -> None:
        """A lane never runs two responses."""
        if not self.functions:
            return
        socket = self.find()
        lanes = [socket.state.lane_of(name) for name in self.running]
        assert len(lanes) == len(set(lanes)), lanes
        for name in self.running:
            assert name in socket.state.runs

    def end_all(self) -> None:
        """End every response that runs, when all losses are noticed."""
        for function in self.functions:
            function.network.noticed.set()
        self.settle()
        while self.running:
            for _, ended in list(self.running.values()):
                ended.set()
            self.settle()

    def each_request_has_ended(self) -> None:
        """Each request that has come has ended once, and no lane holds anything."""
        if not self.functions:
            return
        state = self.find().state
        assert not state.runs
        assert state.lanes.waiting == 0
        came = {
            message.name
            for function in self.functions
            if isinstance(message := read(function.event), Message)
            and isinstance(_asked(function.event), Create)
        }
        assert len(came) == len(self.ended) + self.refused.total()

    def find(self) -> Socket:
        """Return the socket as it is."""
        return self.loop.run_until_complete(Function(self, None)._store.find(CONNECTION))

    def teardown(self) -> None:
        """Whatever was killed, each request ends once, and nothing is left.

        Lambda tells of what was killed, or else the next messages bring every lane on.
        """
        try:
            self.end_all()
            if self.is_sure:
                while self.untold:
                    self.tell(0)
                    self.end_all()
                self.each_request_has_ended()
            self.now += 100
            for _ in range(3):
                if not self.functions:
                    break
                for lane in ("a", "b", None):
                    self.now += 1
                    body = {"type": "response.create", **_lane(lane)}
                    self.deliver(event(CONNECTION, body=body, sent=self.now), None)
                self.end_all()
                self.now += 100
            if self.functions:
                state = self.find().state
                assert not state.runs, state
                assert state.lanes.waiting == 0
        finally:
            pending = asyncio.all_tasks(self.loop)
            for task in pending:
                task.cancel()
            if pending:
                self.loop.run_until_complete(asyncio.wait(pending))
            self.loop.close()
            assert self.settings.stream_table is not None
            delete_table(self.settings.stream_table)
            self.patch.undo()


def _asked(data: bytes) -> object:
    """Return what an event of the API asks for, None if it is another event."""
    message = read(data)
    return read_message(message.body) if isinstance(message, Message) else None


def _lane(lane: str | None) -> dict[str, str]:
    return {} if lane is None else {"stream_id": lane}


TestSockets = Sockets.TestCase
TestSockets.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=15,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)


@pytest.mark.parametrize("lost", range(8))
@pytest.mark.parametrize("lane", ["a", "b"])
def test_an_answer_that_is_lost(lane: str, lost: int) -> None:
    """Each request ends once if others change the socket before the loss is noticed."""
    machine = Sockets()
    machine.begin()
    machine.create("a", late=False, kill=None, lost=lost)
    machine.create(lane, late=False, kill=None, lost=None)
    if machine.running:
        machine.end(0)
    machine.create("c", late=False, kill=None, lost=None)
    machine.end_all()
    machine.each_request_has_ended()
    machine.teardown()


@pytest.mark.parametrize("lost", range(8))
def test_an_answer_that_is_lost_for_the_last_message_of_the_rate(lost: int) -> None:
    """A request that was taken is not refused when its loss is noticed."""

    def use_up(state: State) -> None:
        state.rate = Rate(START + 100, left=1.0)

    machine = Sockets()
    machine.begin()
    opener = Function(machine, None)
    machine.loop.run_until_complete(opener._store.change(CONNECTION, use_up))
    machine.create("a", late=False, kill=None, lost=lost)
    machine.create("b", late=False, kill=None, lost=None)
    machine.end_all()
    machine.each_request_has_ended()
    machine.teardown()


@pytest.mark.parametrize("lost", range(4))
@pytest.mark.parametrize("waits", [False, True])
def test_a_cancel_whose_answer_is_lost(lost: int, *, waits: bool) -> None:
    """A cancel ends one request, and it does so if others change the socket meanwhile."""
    machine = Sockets()
    machine.begin()
    for _ in range(3 if waits else 1):
        machine.create("a", late=False, kill=None, lost=None)
    machine.cancel("a", late=False, kill=None, lost=lost)
    machine.create("b", late=False, kill=None, lost=None)
    for function in machine.functions:
        function.network.noticed.set()
    machine.settle()
    assert (len(machine.stopped), machine.refused.total()) == (1, 0)
    machine.end_all()
    machine.each_request_has_ended()
    machine.teardown()
