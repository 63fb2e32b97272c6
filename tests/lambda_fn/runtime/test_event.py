"""Events become ASGI scopes."""

import base64
import json

import pytest

from lambda_fn.ids import new_request_id
from lambda_fn.runtime.event import InvalidEvent, run_event, to_scope
from tests.support.runtime_api import EVENT


def test_scope_of_an_event() -> None:
    """An event becomes the scope of its request."""
    scope, body = to_scope(json.dumps(EVENT).encode())
    assert body == b"hello"
    assert (scope["method"], scope["path"], scope["raw_path"]) == (
        "POST",
        "/v1/café",
        b"/v1/caf%C3%A9",
    )
    assert (scope["query_string"], scope["http_version"], scope["client"]) == (
        b"a=1&b=%20",
        "1.1",
        ("10.0.0.1", 0),
    )
    assert dict(scope["headers"])[b"host"] == b"x"
    assert dict(scope["headers"])[b"cookie"] == b"a=1; b=2"


def test_headers_that_differ_stay_different() -> None:
    """An `Idempotency-Key` may be in any script. Two of them must not become one."""

    def header(value: str) -> bytes:
        scope, _ = to_scope(json.dumps({**EVENT, "headers": {"Idempotency-Key": value}}).encode())
        found: bytes = dict(scope["headers"])[b"idempotency-key"]
        return found

    keys = ("заказ", "оплата", "caf\xe9", "a?")
    assert len({header(key) for key in keys}) == len(keys)
    assert header("caf\xe9") == b"caf\xe9"


def test_scope_of_a_binary_body() -> None:
    """A body in base 64 is decoded."""
    event = {**EVENT, "body": base64.b64encode(b"\x00\xff").decode(), "isBase64Encoded": True}
    assert to_scope(json.dumps(event).encode())[1] == b"\x00\xff"


@pytest.mark.parametrize(
    "event", [b"", b"{}", b'"test"', b'{"requestContext":{"http":{}}}', b"[" * 10_000, b"\xff"]
)
def test_other_events_are_refused(event: bytes) -> None:
    """A test event of the console, and bytes that are no event, are rejected."""
    with pytest.raises(InvalidEvent):
        to_scope(event)


def test_run_of_a_queued_response() -> None:
    """The event of a run names a response, and is no HTTP request."""
    name = new_request_id()
    scope, body = to_scope(json.dumps(run_event(name)).encode())
    assert (scope["type"], scope["sluice.run"], body) == ("sluice.run", name, b"")


def test_a_caller_of_the_url_cannot_send_it() -> None:
    """What a request of a function URL contains does not make a run of it."""
    event = {**EVENT, **run_event(new_request_id()), "body": json.dumps(run_event("x"))}
    scope, body = to_scope(json.dumps(event).encode())
    assert scope["type"] == "http"
    assert b"sluice" in body


@pytest.mark.parametrize(
    "run",
    [
        {"v": 2, "run": new_request_id()},
        {"v": 1, "run": "../../x"},
        {"v": 1, "run": ""},
        {"v": 1},
        {"v": "1", "run": new_request_id()},
        {"v": 1, "run": 7},
        "x",
        None,
    ],
)
def test_other_runs_are_refused(run: object) -> None:
    """An event that names no response, or has another version, is rejected."""
    with pytest.raises(InvalidEvent):
        to_scope(json.dumps({"sluice": run}).encode())
