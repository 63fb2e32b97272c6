"""The state of a socket between its messages: lanes, cancels that come early, and what stays."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.errors import Cancelled
from lambda_fn.socket.core import Rate
from lambda_fn.socket.gateway.state import EARLY, State
from lambda_fn.socket.lanes import Running, Waiting
from lambda_fn.socket.messages import Cancel


def create(
    state: State, name: str, lane: str | None = None, *, sent: float = 0.0, stays: bool = False
) -> list[str]:
    """Take a request."""
    return state.create(name, lane, sent=sent, now=sent, stays=stays)


@given(st.permutations(range(5)), st.integers(0, 4))
def test_a_lane_runs_what_has_come_in_the_order_of_sending(order: list[int], ends: int) -> None:
    """However the requests of a lane come, those that wait begin in the order of sending."""
    state = State(Rate(0.0))
    begun: list[str] = []
    for number in order:
        begun += create(state, str(number), "a", sent=float(number))
    del ends
    while state.runs:
        [name] = state.runs
        state = msgspec.json.decode(msgspec.json.encode(state), type=State)
        begun += state.ended(name, 9.0)
    rest = sorted(str(number) for number in order[1:])
    assert begun == [str(order[0]), *rest]


def test_what_an_invocation_answers() -> None:
    """Each response is answered by one invocation, also when its turn comes later."""
    state = State(Rate(0.0))
    for name, by in (("1", "r"), ("2", "s"), ("3", "t")):
        state.create(name, "a", sent=float(name), now=1.0, stays=name == "2", by=by)
    assert state.answered_by("r") == ["1"]
    assert state.answered_by("s") == state.answered_by("") == []
    assert state.ended("1", 2.0) == ["2"]
    assert (state.recent, state.answered_by("")) == (["1"], ["2"])
    assert state.take(["1", "2", "3"], "u") == ["2"]
    assert state.take(["2"], "v") == []
    assert state.ended("2", 2.0, by="u") == ["3"]
    assert state.answered_by("u") == ["3"]
    assert state.has("3")
    assert not state.has("2")


def test_a_cancel_that_comes_before_its_create() -> None:
    """A create that was sent before the cancel that has come ends at once, and a later one runs."""
    state = State(Rate(0.0))
    assert state.cancel(Cancel("a"), "c", sent=5.0, now=5.0) is None
    with pytest.raises(Cancelled):
        state.create("1", "a", sent=4.0, now=5.5, stays=False)
    assert state.found_nothing(9.0) == ([], None)
    assert state.create("2", "a", sent=4.5, now=5.6, stays=False) == ["2"]


def test_a_cancel_that_finds_nothing_is_taken_back() -> None:
    """A cancel waits for its create for some time, in its own lane only."""
    state = State(Rate(0.0))
    state.cancel(Cancel("a"), "c", sent=5.0, now=5.0)
    assert state.create("1", "b", sent=4.0, now=5.0, stays=False) == ["1"]
    assert state.create("2", "a", sent=6.0, now=6.0, stays=False) == ["2"]
    assert state.found_nothing(4.9) == ([], 5.0)
    [[early], none] = state.found_nothing(5.0)
    assert (early.name, none) == ("c", None)
    assert state.found_nothing(9.0) == ([], None)
    state.cancel(Cancel("x"), "d", sent=5.0, now=5.0)
    assert state.create("3", "x", sent=4.0, now=5.0 + 3 * EARLY, stays=False) == ["3"]


def test_one_function_sees_to_the_cancels_that_find_nothing() -> None:
    """The first one does, for all that come meanwhile. If it was killed, another one does."""
    state = State(Rate(0.0))
    found = [state.cancel(Cancel(str(at)), f"c{at}", sent=at, now=at) for at in (5.0, 5.5, 6.5)]
    assert [early is None for early in found] == [True, False, False]
    over, came = state.found_nothing(5.5)
    assert ([early.name for early in over], came) == (["c5.0", "c5.5"], 6.5)
    late = 6.5 + 1.5 * EARLY
    assert state.cancel(Cancel("x"), "d", sent=late, now=late) is None
    assert state.cancel(Cancel("y"), "e", sent=late, now=late) is None, "the oldest is as old"
    later = late + EARLY
    assert state.cancel(Cancel("z"), "f", sent=later, now=later) is not None


def test_cancels_of_what_runs_and_waits() -> None:
    """A cancel finds what runs, by its lane or its id, then what waits. It tells a second time."""
    state = State(Rate(0.0))
    create(state, "1", "a")
    create(state, "2", "a", sent=1.0)
    assert state.cancel(Cancel("a"), "c", sent=2.0, now=2.0) == Running("1", "resp_1")
    assert state.cancelled("1")
    again = state.cancel(Cancel(response_id="resp_1"), "d", sent=2.0, now=2.0)
    assert again == Running("1", "resp_1", cancelled=True)
    assert state.lane_of("1") == "a"
    assert state.ended("1", 3.0) == ["2"]
    assert state.lane_of("1") is None
    create(state, "3", "a", sent=4.0)
    state.cancel(Cancel("a"), "e", sent=5.0, now=5.0)
    state.ended("2", 5.0)
    create(state, "4", "b", sent=6.0)
    create(state, "5", "b", sent=7.0)
    state.runs.pop("4")
    state.lanes.ended("4")
    assert isinstance(state.cancel(Cancel("b"), "f", sent=8.0, now=8.0), Running | Waiting)


def test_a_cancel_of_what_was_not_stopped() -> None:
    """A response that runs on is found again, as if no message had cancelled it before."""
    state = State(Rate(0.0))
    create(state, "1", "a")
    state.cancel(Cancel("a"), "c", sent=2.0, now=2.0)
    late = 2.0 + 1.5 * EARLY
    assert state.cancel(Cancel("a"), "d", sent=late, now=late) == Running("1", "resp_1")
    assert state.cancel(Cancel("a"), "d", sent=late, now=late) == Running("1", "resp_1")
    for name in ("c", "e"):
        found = state.cancel(Cancel("a"), name, sent=late, now=late + 1.0)
        assert isinstance(found, Running)
        assert found.cancelled, name
    state.ended("1", late + 2.0)
    create(state, "2", "a", sent=late + 3.0)
    for name in ("c", "d", "e"):
        state.cancel(Cancel("a"), name, sent=2.0, now=late + 9.0)
        assert not state.cancelled("2"), name


@pytest.mark.parametrize("kind", ["running", "cancelled", "early", "nothing"])
def test_a_cancel_that_comes_again_finds_nothing_else(kind: str) -> None:
    """Lambda may bring a message twice. What came in its lane meanwhile is not cancelled by it."""
    state = State(Rate(0.0))
    if kind in ("running", "cancelled"):
        create(state, "1", "a")
    if kind == "cancelled":
        state.cancel(Cancel("a"), "b", sent=1.0, now=1.0)
    state.cancel(Cancel("a"), "c", sent=2.0, now=2.0)
    if kind == "early":
        with pytest.raises(Cancelled):
            create(state, "1", "a", sent=1.5)
    elif kind == "nothing":
        assert [early.name for early in state.found_nothing(2.0)[0]] == ["c"]
    else:
        state.ended("1", 3.0)
    create(state, "2", "a", sent=4.0)
    found = state.cancel(Cancel("a"), "c", sent=2.0, now=5.0)
    assert isinstance(found, Running)
    assert found.cancelled
    assert not state.cancelled("2")
    state.cancel(Cancel("a"), "d", sent=6.0, now=6.0)
    assert state.cancelled("2")


def test_leaving() -> None:
    """A client that leaves ends what does not stay, and all that waits."""
    state = State(Rate(0.0))
    create(state, "1", "a", stays=True)
    create(state, "2", "b")
    create(state, "3", "b", sent=1.0, stays=True)
    assert state.leave() == (["2"], ["3"])
    assert state.gone
    assert state.ended("1", 2.0) == []
    assert state.ended("2", 2.0) == []
    assert not state.runs


def test_a_response_that_stays_does_so_when_it_waited() -> None:
    """A request that waited keeps that it stays."""
    state = State(Rate(0.0))
    create(state, "1", "a")
    create(state, "2", "a", sent=1.0, stays=True)
    assert state.ended("1", 5.0) == ["2"]
    assert (state.runs["2"].began, state.runs["2"].stays) == (5.0, True)


def test_the_last_response_of_each_lane_is_known() -> None:
    """It is the last one that was completed. A failed one takes its parent out."""
    state = State(Rate(0.0))
    create(state, "1", "a")
    state.ended("1", 1.0, completed=True)
    create(state, "2")
    state.ended("2", 1.0, completed=True)
    assert state.latest == {"a": "1", "": "2"}
    create(state, "3", "a")
    state.ended("3", 2.0, completed=False, parent="1")
    assert state.latest == {"": "2"}
