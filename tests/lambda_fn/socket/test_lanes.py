"""Lanes: one response at a time in each, in order, and sixteen at once of all."""

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_fn.errors import InvalidRequest, RateLimited
from lambda_fn.socket.lanes import MAX_LANES, MAX_RUNNING, MAX_WAITING, Lanes, Running, Waiting

NAMES = st.sampled_from([None, *(f"lane{number}" for number in range(MAX_LANES + 3))])


class LanesMachine(RuleBasedStateMachine):
    """Compares the lanes with lists of what was sent to each one."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes()
        self.sent: dict[str | None, list[tuple[float, str]]] = {}
        self.running: dict[str | None, str] = {}
        self.count = 0

    def started(self, names: list[str]) -> None:
        """Note what has begun. It must have been the next one of its lane."""
        for name in names:
            (lane,) = [
                key for key, waiting in self.sent.items() if name in {it[1] for it in waiting}
            ]
            assert lane not in self.running
            assert self.sent[lane].pop(0)[1] == name
            self.running[lane] = name

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return sum(map(len, self.sent.values()))

    @rule(lane=NAMES, early=st.integers(0, 5))
    def add(self, lane: str | None, early: int) -> None:
        """Send a request, which may arrive behind ones that were sent after it."""
        name, when = str(self.count), float(self.count - early)
        self.count += 1
        is_new = lane is not None and lane not in self.sent
        named = len(self.sent.keys() - {None})
        if is_new and named == MAX_LANES:
            with pytest.raises(InvalidRequest, match="named lanes"):
                self.lanes.add(lane, name, when)
            return
        if self.waiting == MAX_WAITING:
            with pytest.raises(RateLimited):
                self.lanes.add(lane, name, when)
            return
        names = self.lanes.add(lane, name, when)
        waiting = self.sent.setdefault(lane, [])
        waiting.append((when, name))
        waiting.sort(key=lambda it: it[0])
        self.started(names)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Send a request again that runs. Nothing changes."""
        lane = data.draw(st.sampled_from(sorted(self.running, key=str)))
        assert self.lanes.add(lane, self.running[lane], 0.0) == []

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """End a response."""
        lane = data.draw(st.sampled_from(sorted(self.running, key=str)))
        name = self.running.pop(lane)
        self.started(self.lanes.ended(name))
        assert self.lanes.ended(name) == []

    @rule(lane=NAMES)
    def cancel(self, lane: str | None) -> None:
        """Cancel what a lane runs, or what it would run next."""
        found = self.lanes.cancel(lane)
        if lane in self.running:
            assert isinstance(found, Running)
            assert found.name == self.running[lane]
        elif self.sent.get(lane):
            assert isinstance(found, Waiting)
            assert found.name == self.sent[lane].pop(0)[1]
        else:
            assert found is None

    @rule()
    def store(self) -> None:
        """Store the lanes, and go on with what was read."""
        self.lanes = msgspec.json.decode(msgspec.json.encode(self.lanes), type=Lanes)

    @invariant()
    def runs_what_it_can(self) -> None:
        """As many run as may, and nothing waits that could run."""
        assert self.lanes.running == len(self.running) <= MAX_RUNNING
        assert self.lanes.waiting == self.waiting <= MAX_WAITING
        if len(self.running) < MAX_RUNNING:
            assert all(lane in self.running for lane, waiting in self.sent.items() if waiting)


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(stateful_step_count=120, max_examples=60)


def test_order() -> None:
    """The requests of a lane run in the order in which they were sent, however they arrive."""
    lanes = Lanes()
    assert lanes.add("a", "first", 1.0) == ["first"]
    for name, when in (("d", 4.0), ("b", 2.0), ("e", 4.0), ("c", 3.0)):
        assert lanes.add("a", name, when) == []
    order = []
    name = "first"
    while begun := lanes.ended(name):
        (name,) = begun
        order.append(name)
    assert order == ["b", "c", "d", "e"]


def test_oldest_lane_first() -> None:
    """When a response ends, the request that was sent first of all lanes begins."""
    lanes = Lanes()
    for number in range(MAX_RUNNING):
        assert lanes.add(f"lane{number}", f"r{number}", 0.0)
    assert lanes.add("x", "late", 2.0) == lanes.add("y", "early", 1.0) == []
    assert lanes.ended("r3") == ["early"]


def test_cancel_by_id() -> None:
    """A response is cancelled by its id once that is known, and only the first cancel is one."""
    lanes = Lanes()
    lanes.add("a", "r", 0.0)
    assert lanes.cancel_response("resp_1") is None
    lanes.begun("r", "resp_1")
    assert lanes.cancel_response("resp_1") == Running("r", "resp_1")
    assert lanes.cancel("a") == Running("r", "resp_1", cancelled=True)


def test_refused_lanes_leave_no_trace() -> None:
    """A request that is refused takes no lane: the connection can be used as before."""
    lanes = Lanes()
    for number in range(MAX_RUNNING + MAX_WAITING):
        lanes.add(f"lane{number % 20}", str(number), 0.0)
    with pytest.raises(RateLimited) as refused:
        lanes.add("another", "x", 0.0)
    assert refused.value.code == "websocket_queue_limit_reached"
    assert "another" not in lanes.lanes
