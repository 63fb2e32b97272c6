"""The events of the WebSocket API, as the function reads them."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.constructs.websocket_api import TEMPLATE
from lambda_fn.ids import is_request_id, request_time
from lambda_fn.socket.gateway.messages import (
    Begin,
    Closing,
    Failure,
    InvalidEvent,
    Message,
    Opening,
    begin_event,
    read,
)
from local.apigateway import events
from local.apigateway.templates import check, render
from tests.support.sockets import event, opening

PEER = events.Peer("abc=", "api", "responses", "localhost:1", "192.0.2.1", "agent", 1_800_000_000.0)
NOW = 1_800_000_000.25


@given(st.text(max_size=200))
def test_a_message_by_the_request_template(text: str) -> None:
    """What the deployed template makes of a message is read back, whatever the message is."""
    check(TEMPLATE)
    context = events.context(PEER, "$default", "MESSAGE", NOW)
    found = read(render(TEMPLATE, context, text).encode())
    assert isinstance(found, Message)
    assert (found.connection_id, found.body.decode(), found.sent) == ("abc=", text, NOW)
    assert is_request_id(found.name)
    assert request_time(found.name) == NOW


def test_the_same_message_has_the_same_name() -> None:
    """A repeated message has the name of the first one, and no other message has it."""
    one = read(event("c", body={}, sent=5.0, message_id="m"))
    assert read(event("c", body={}, sent=5.0, message_id="m")) == one
    for other in (
        event("c", body={}, sent=5.0, message_id="n"),
        event("d", body={}, sent=5.0, message_id="m"),
    ):
        found = read(other)
        assert isinstance(found, Message)
        assert isinstance(one, Message)
        assert found.name != one.name


def test_the_end_by_the_request_template() -> None:
    """What the deployed template makes of `$disconnect` is read back."""
    context = events.context(PEER, "$disconnect", "DISCONNECT", NOW)
    assert read(render(TEMPLATE, context, "").encode()) == Closing("abc=")


def failure(payload: bytes, condition: str = "RetriesExhausted") -> bytes:
    """Return what Lambda tells of an invocation that failed."""
    context = {"requestId": "r1", "functionArn": "arn", "condition": condition}
    record = {"version": "1.0", "requestContext": context, "requestPayload": json.loads(payload)}
    return json.dumps(record).encode()


def test_a_failure() -> None:
    """A failed invocation is read with its event, and with whether it was ever begun."""
    message = event("c", body={}, sent=5.0)
    found = read(message)
    assert isinstance(found, Message)
    assert read(failure(message)) == Failure("r1", is_too_old=False, event=found)
    begin = json.dumps(begin_event("c", ["a", "b"])).encode()
    assert read(begin) == Begin("c", ("a", "b"))
    assert read(failure(begin, "EventAgeExceeded")) == Failure(
        "r1", is_too_old=True, event=Begin("c", ("a", "b"))
    )


def test_a_failure_of_something_else() -> None:
    """A failure of a failure, or of another event, has no event."""
    message = event("c", body={}, sent=5.0)
    for record in (failure(failure(message)), failure(opening("c", {})), failure(b"[]")):
        assert read(record) == Failure("r1", is_too_old=False, event=None)


@pytest.mark.parametrize(
    ("protocols", "query", "ticket", "chosen"),
    [
        ("", None, None, None),
        ("", {"ticket": "t"}, "t", None),
        ("sluice, ticket.t", {"ticket": "u"}, "t", "sluice"),
        ("ticket.t", None, "t", "ticket.t"),
        ("a,b", None, None, "a"),
        (",,", None, None, None),
    ],
)
def test_opening(
    protocols: str, query: dict[str, str] | None, ticket: str | None, chosen: str | None
) -> None:
    """A ticket comes as a subprotocol or in the query. One that has no ticket is chosen first."""
    found = read(opening("c", {"Sec-WebSocket-Protocol": protocols, "X-A": "b"}, query))
    assert isinstance(found, Opening)
    assert (found.ticket, found.protocol) == (ticket, chosen)
    assert (found.headers["x-a"], found.address) == ("b", "192.0.2.1")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"requestContext": {"connectionId": "c", "eventType": "OTHER"}}',
        b'{"requestContext": {"connectionId": "c"}}',
        b'{"requestContext": {"connectionId": "c", "eventType": "MESSAGE"}, "body": "%"}',
        b"[" * 10_000,
        json.dumps({"body": base64.b64encode(b"x").decode()}).encode(),
    ],
)
def test_another_event(data: bytes) -> None:
    """An event of another form is told, and not taken for a message."""
    with pytest.raises(InvalidEvent):
        read(data)
