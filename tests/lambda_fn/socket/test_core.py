"""The protocol of a socket: whatever is sent, the socket answers, and other lanes go on."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_fn.socket.core import (
    FLOOD,
    GOING_AWAY,
    MAX_AGE,
    MAX_IDLE,
    MAX_MESSAGE,
    MESSAGES_BURST,
    MESSAGES_PER_SECOND,
    TOO_BIG,
    Close,
    Command,
    Connection,
    Rate,
    Send,
    Start,
    Stop,
)
from lambda_fn.socket.lanes import MAX_LANES, MAX_RUNNING
from lambda_fn.socket.messages import Create


def create(lane: str | None = None, text: str = "hi", **members: Any) -> str:
    """Return a create."""
    lanes = {} if lane is None else {"stream_id": lane}
    return json.dumps({"type": "response.create", "model": "m", "input": text, **lanes, **members})


def cancel(**members: Any) -> str:
    """Return a cancel."""
    return json.dumps({"type": "response.cancel", **members})


def names(commands: list[Command]) -> list[str]:
    """Return the names of the responses that commands start; there are no other commands."""
    assert all(isinstance(command, Start) for command in commands)
    return [command.name for command in commands if isinstance(command, Start)]


def error(commands: list[Command]) -> dict[str, Any]:
    """Return the error that is the only command."""
    (command,) = commands
    assert isinstance(command, Send)
    event: dict[str, Any] = json.loads(command.data)
    assert event["type"] == "error"
    return event


def code(commands: list[Command]) -> str:
    """Return the code of the error that is the only command."""
    found: str = error(commands)["error"]["code"]
    return found


def test_lanes() -> None:
    """Lanes run at once, and each runs its requests one after another."""
    connection = Connection(0.0)
    (first,) = names(connection.receive(create("a"), 0.0))
    assert connection.receive(create("a"), 0.0) == []
    (other,) = names(connection.receive(create("b"), 0.0))
    assert names(connection.receive(create(), 0.0))
    assert connection.ended(other, 1.0) == []
    assert len(names(connection.ended(first, 1.0))) == 1


@given(data=st.data())
def test_pieces(data: st.DataObject) -> None:
    """A message in pieces is the message, wherever it is cut."""
    text = create("a", "é€😀")
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
    pieces = [text[start:end] for start, end in pairwise([0, *cuts, len(text)])]
    connection = Connection(0.0)
    for piece in pieces[:-1]:
        assert connection.receive(piece, 0.0, last=False) == []
    (whole,) = Connection(0.0).receive(text, 0.0)
    assert connection.receive(pieces[-1], 0.0) == [whole]
    for character in text:
        assert connection.receive(character, 0.0, last=False) == []
    assert connection.receive("", 0.0) == []  # its lane is busy: it waits
    assert connection.busy


@pytest.mark.parametrize("piece", [1, 1000, MAX_MESSAGE])
def test_too_big(piece: int) -> None:
    """A message over the limit closes the socket with 1009, before all of it has come."""
    connection = Connection(0.0)
    fits = create("a", "x")
    fits = create("a", "x" * (MAX_MESSAGE - len(fits) + 1))
    assert len(fits) == MAX_MESSAGE
    assert names(connection.receive(fits, 0.0))
    closed: list[Command] = []
    sent = 0
    while not closed:
        closed = connection.receive("é" * piece, 0.0, last=False)
        sent += piece
    assert sent <= MAX_MESSAGE // 2 + piece
    assert [command.code for command in closed if isinstance(command, Close)] == [TOO_BIG]
    assert connection.receive(create(), 0.0) == []


def test_bad_messages() -> None:
    """Messages that mean nothing are answered one by one, and a running lane goes on."""
    connection = Connection(0.0)
    (name,) = names(connection.receive(create("a"), 0.0))
    assert code(connection.receive(b"\0\1", 0.0)) == "invalid_message"
    assert code(connection.receive(create("a").encode(), 0.0)) == "invalid_message"
    assert code(connection.receive('{"type": "response.cre', 0.0)) == "invalid_json"
    assert code(connection.receive("\ud83d", 0.0)) == "invalid_json"
    assert code(connection.receive('{"type": "session.update"}', 0.0)) == "invalid_value"
    assert error(connection.receive(create("b", background=True), 0.0))["stream_id"] == "b"
    assert connection.receive(create("a"), 0.0) == []
    assert len(names(connection.ended(name, 0.0))) == 1


def test_too_many_lanes() -> None:
    """A lane over the limit is an error of its own. Known lanes can be used."""
    connection = Connection(0.0)
    for number in range(MAX_LANES):
        assert len(connection.receive(create(f"lane{number}"), float(number))) <= 1
    refused = error(connection.receive(create("more"), 99.0))
    assert (refused["error"]["code"], refused["stream_id"]) == (
        "websocket_stream_limit_reached",
        "more",
    )
    assert refused["error"]["param"] == "stream_id"
    assert connection.receive(create("lane3"), 99.0) == []


def test_many_at_once() -> None:
    """Over sixteen responses wait, and begin when others end."""
    connection = Connection(0.0)
    started = [
        name
        for number in range(MAX_RUNNING + 2)
        for name in names(connection.receive(create(f"lane{number}"), 0.0))
    ]
    assert len(started) == MAX_RUNNING
    assert len(names(connection.ended(started[0], 0.0))) == 1


def test_large_requests() -> None:
    """Requests that run and wait are bounded together, and room comes back with each end."""
    connection, large = Connection(0.0), "x" * (MAX_MESSAGE - 200)
    for number in range(MAX_RUNNING):
        connection.receive(create("a", large), 0.1 * number)
    refused = error(connection.receive(create("a", large), 2.0))
    assert (refused["error"]["code"], refused["stream_id"]) == (
        "websocket_queue_limit_reached",
        "a",
    )
    assert names(connection.receive(create("b", "small"), 2.0))
    (name,) = names(connection.ended("0", 2.0))
    assert name == "1"
    assert connection.receive(create("a", large), 2.0) == []


def test_cancel() -> None:
    """A lane is cancelled once. What waits in it begins when the cancelled response has ended."""
    connection = Connection(0.0)
    (name,) = names(connection.receive(create("a"), 0.0))
    connection.receive(create("a"), 0.0)
    assert connection.receive(cancel(stream_id="a"), 0.0) == [Stop(name)]
    assert connection.receive(cancel(stream_id="a"), 0.0) == []
    assert len(names(connection.ended(name, 0.0))) == 1


def test_cancel_by_id() -> None:
    """A response is cancelled by its id. An id that this socket does not run is an error."""
    connection = Connection(0.0)
    (name,) = names(connection.receive(create("a"), 0.0))
    connection.begun(name, "resp_mine")
    foreign = error(connection.receive(cancel(response_id="resp_other"), 0.0))
    assert (foreign["status"], foreign["error"]["code"]) == (404, "response_not_found")
    assert connection.receive(cancel(response_id="resp_mine"), 0.0) == [Stop(name)]
    connection.ended(name, 0.0)
    assert code(connection.receive(cancel(response_id="resp_mine"), 0.0)) == "response_not_found"


def test_cancel_of_nothing() -> None:
    """A cancel that finds nothing is an error of its lane. One of what waits ends that."""
    connection = Connection(0.0)
    nothing = error(connection.receive(cancel(stream_id="a"), 0.0))
    assert (nothing["error"]["code"], nothing["stream_id"]) == ("response_not_found", "a")
    for number in range(MAX_RUNNING):
        connection.receive(create(f"lane{number}"), 0.0)
    assert connection.receive(create("a"), 0.0) == []
    cancelled = error(connection.receive(cancel(stream_id="a"), 0.0))
    assert (cancelled["status"], cancelled["error"]["code"]) == (499, "cancelled")
    assert connection.ended("0", 0.0) == []


def test_flood() -> None:
    """Ten messages a second pass for ever. More are refused, and a flood closes the socket."""
    connection = Connection(0.0)
    for number in range(500):
        found = connection.receive(cancel(), 100 + number / MESSAGES_PER_SECOND)
        assert code(found) == "response_not_found"
    answers = [connection.receive(cancel(), 1_000.0) for _ in range(2 * MESSAGES_BURST + 1)]
    codes = [code(answer) for answer in answers[:-1]]
    assert (
        codes
        == ["response_not_found"] * MESSAGES_BURST
        + ["websocket_message_limit_reached"] * MESSAGES_BURST
    )
    assert answers[-1] == [Close(FLOOD, "Too many messages.")]


@given(st.permutations(range(MESSAGES_BURST)))
def test_messages_that_are_counted_late(order: list[int]) -> None:
    """A message that is counted after later ones counts as one, however late it comes."""
    rate = Rate(0.0)
    assert min(rate.take(60.0 - 10 * late) for late in order) >= 0


def test_refused_messages_do_nothing() -> None:
    """A message that is refused for its rate is not read."""
    connection = Connection(0.0)
    for _ in range(MESSAGES_BURST):
        connection.receive(cancel(), 0.0)
    refused = error(connection.receive(create("a"), 0.0))
    assert (refused["status"], refused["error"]["headers"]) == (429, {"retry-after": "1"})
    assert not connection.busy
    assert names(connection.receive(create("a"), 1.0))


def test_a_client_that_left() -> None:
    """What waits does not begin when the client has left."""
    connection = Connection(0.0)
    (name,) = names(connection.receive(create("a"), 0.0))
    connection.receive(create("a"), 0.0)
    connection.leave()
    assert connection.ended(name, 0.0) == []


def test_idle() -> None:
    """A socket without a message and a response is closed after a while, and not before."""
    connection = Connection(0.0)
    (name,) = names(connection.receive(create(), 5.0))
    assert connection.deadline == MAX_AGE
    assert connection.elapsed(5.0 + MAX_IDLE) == []
    connection.ended(name, 700.0)
    assert connection.deadline == 700.0 + MAX_IDLE
    assert connection.elapsed(699.0 + MAX_IDLE) == []
    (closed,) = connection.elapsed(700.0 + MAX_IDLE)
    assert isinstance(closed, Close)
    assert closed.code == GOING_AWAY


def test_age() -> None:
    """After an hour nothing begins any more. What runs ends, and then the socket closes."""
    connection = Connection(0.0)
    (name,) = names(connection.receive(create("a"), MAX_AGE - 1))
    connection.receive(create("a"), MAX_AGE - 1)
    over, waited = connection.elapsed(MAX_AGE)
    assert code([over]) == code([waited]) == "websocket_connection_limit_reached"
    assert [error([it]).get("stream_id") for it in (over, waited)] == [None, "a"]
    assert code(connection.receive(create("b"), MAX_AGE)) == "websocket_connection_limit_reached"
    assert connection.receive(cancel(stream_id="a"), MAX_AGE) == [Stop(name)]
    (closed,) = connection.ended(name, MAX_AGE + 1)
    assert isinstance(closed, Close)


def test_age_of_a_quiet_socket() -> None:
    """A socket that is over its time and runs nothing is closed with the error."""
    connection = Connection(0.0)
    for number in range(1, 8):
        connection.receive(cancel(), number * 500.0)
    over, closed = connection.elapsed(MAX_AGE)
    assert code([over]) == "websocket_connection_limit_reached"
    assert isinstance(closed, Close)


class SocketMachine(RuleBasedStateMachine):
    """Any messages, ends and times: every request ends in one start or one error."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.connection = Connection(self.now)
        self.running: dict[str, str | None] = {}
        self.stopped: set[str] = set()
        self.owed = 0
        """Creates that were neither started nor refused."""
        self.closed = False

    def do(self, commands: list[Command]) -> int:
        """Do what a carrier does, and return the number of errors."""
        errors = 0
        for command in commands:
            assert not self.closed, "nothing follows a close"
            if isinstance(command, Start):
                assert command.name not in self.running
                assert isinstance(command.request, Create)
                assert command.request.stream_id not in self.running.values()
                self.running[command.name] = command.request.stream_id
                self.owed -= 1
            elif isinstance(command, Stop):
                assert command.name in self.running.keys() - self.stopped
                self.stopped.add(command.name)
            elif isinstance(command, Send):
                errors += 1
            else:
                self.closed = True
        return errors

    @rule(
        lane=st.sampled_from([None, *"abcdefghijklmnopqrst"]),
        later=st.sampled_from([0.0, 0.2, 9.0]),
    )
    def create(self, lane: str | None, later: float) -> None:
        """Send a create."""
        self.now += later
        self.owed += 1
        errors = self.do(self.connection.receive(create(lane), self.now))
        self.owed -= errors

    @rule(lane=st.sampled_from([None, *"abcdefghijklmnopqrst"]))
    def cancel(self, lane: str | None) -> None:
        """Send a cancel of a lane."""
        members = {} if lane is None else {"stream_id": lane}
        commands = self.connection.receive(cancel(**members), self.now)
        errors = [json.loads(it.data)["error"] for it in commands if isinstance(it, Send)]
        self.owed -= sum(it["code"] == "cancelled" for it in errors)  # it waited
        self.do(commands)

    @rule(message=st.text(max_size=30) | st.binary(max_size=30))
    def garbage(self, message: str | bytes) -> None:
        """Send what means nothing."""
        was_closed = self.closed
        assert self.do(self.connection.receive(message, self.now)) == 1 or self.closed or was_closed

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        """End a response."""
        name = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[name]
        self.do(self.connection.ended(name, self.now))

    @rule(later=st.sampled_from([1.0, MAX_IDLE, MAX_AGE]))
    def wait(self, later: float) -> None:
        """Let time pass."""
        self.now = min(self.now + later, self.connection.deadline)
        self.now = max(self.now, 0.0)
        commands = self.connection.elapsed(self.now)
        lanes = [json.loads(it.data) for it in commands if isinstance(it, Send)]
        self.owed -= max(0, len(lanes) - 1)  # those that waited
        self.do(commands)

    @invariant()
    def nothing_is_lost(self) -> None:
        """What was neither started nor refused waits for its lane or for one of sixteen places."""
        assert len(self.running) <= MAX_RUNNING
        if not self.closed:
            assert self.owed >= 0
            if len(self.running) == 0:
                assert self.owed == 0


TestSocket = SocketMachine.TestCase
TestSocket.settings = settings(stateful_step_count=80, max_examples=80)
