"""Messages of clients: each means one thing, and what means nothing is named."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.errors import RateLimited
from lambda_fn.schema.responses import parse_responses
from lambda_fn.socket.messages import Cancel, Create, Invalid, Resume, error_event, read

NO_NUMBERS: tuple[Any, ...] = (-1, True, "1", 1.5, 2**60, [])
CREATE = {"type": "response.create", "model": "m", "input": "hi"}


def sent(**members: Any) -> bytes:
    """Return a message."""
    return json.dumps(members).encode()


def invalid(message: bytes) -> dict[str, Any]:
    """Return the event of the error that a message is answered with."""
    found = read(message)
    assert isinstance(found, Invalid)
    event: dict[str, Any] = json.loads(error_event(found.error, found.stream_id))
    return event


@pytest.mark.parametrize("around", [b"%b", b"\xef\xbb\xbf%b", b" \r\n%b\t "])
@pytest.mark.parametrize("stream", [{}, {"stream": False}, {"stream": True}])
def test_create(around: bytes, stream: dict[str, Any]) -> None:
    """The body of a create is a streamed request, whatever it says about streaming."""
    found = read(around % sent(**CREATE, **stream))
    assert isinstance(found, Create)
    assert (found.stream_id, found.generate) == (None, True)
    request = parse_responses(found.body)
    assert (request.model, request.input, request.stream) == ("m", "hi", True)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"type": "response.cancel"}, Cancel()),
        ({"type": "response.cancel", "stream_id": None}, Cancel()),
        ({"type": "response.cancel", "stream_id": "a.B-9_"}, Cancel("a.B-9_")),
        ({"type": "response.cancel", "response_id": "resp_1"}, Cancel(response_id="resp_1")),
        ({"type": "response.resume", "response_id": "resp_1"}, Resume(None, "resp_1")),
        (
            {"type": "response.resume", "response_id": "r", "starting_after": 0, "stream_id": "a"},
            Resume("a", "r", 0),
        ),
    ],
)
def test_extensions(message: dict[str, Any], meaning: Cancel | Resume) -> None:
    """A cancel names a lane or a response, and a resume a response and an event."""
    assert read(sent(**message)) == meaning


def test_lane_and_warm_up() -> None:
    """A create names its lane, and may ask for no output."""
    found = read(sent(**CREATE, stream_id="x" * 256, generate=False))
    assert isinstance(found, Create)
    assert (found.stream_id, found.generate) == ("x" * 256, False)


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        (b"", None, "invalid_json"),
        (b"{", None, "invalid_json"),
        (b'{"type": "\xff"}', "type", "invalid_json"),
        (b'{"type": "\\ud83d"}', "type", "invalid_json"),
        (b'{"type": ' + b"[" * 100_000, "type", "invalid_json"),
        (b"[]", None, "invalid_type"),
        (b"7", None, "invalid_type"),
        (b"{}", "type", "missing_required_parameter"),
        (b'{"type": null}', "type", "missing_required_parameter"),
        (b'{"type": 7}', "type", "invalid_value"),
        (b'{"type": "response.inject"}', "type", "invalid_value"),
        (b'{"type": "' + b"x" * 100_000 + b'"}', "type", "invalid_value"),
        (sent(**CREATE, background=True), "background", "unsupported_parameter"),
        (sent(type="response.create", response={}), "response", "unknown_parameter"),
        (sent(**CREATE, generate="no"), "generate", "invalid_type"),
        (sent(**CREATE, generate=0), "generate", "invalid_type"),
        (sent(type="response.resume"), "response_id", "missing_required_parameter"),
        (sent(type="response.resume", response_id=""), "response_id", "invalid_type"),
        (sent(type="response.resume", response_id=["r"]), "response_id", "invalid_type"),
        (sent(type="response.cancel", response_id="r", stream_id="a"), "response_id", None),
        *(
            (
                sent(type="response.resume", response_id="r", starting_after=after),
                "starting_after",
                "invalid_type",
            )
            for after in NO_NUMBERS
        ),
    ],
)
def test_invalid(message: bytes, param: str | None, code: str | None) -> None:
    """The error of a message that means nothing names its member, in OpenAI's form for sockets."""
    event = invalid(message)
    assert event["type"] == "error"
    assert (event["status"], event["error"]["type"]) == (400, "invalid_request_error")
    assert (event["error"]["param"], event["error"]["code"]) == (param, code)
    assert len(event["error"]["message"]) < 500


@pytest.mark.parametrize("name", ["", "x" * 257, "a b", "é", "a\n", "a/b", 7, ["a"], {}])
def test_lanes_with_wrong_names(name: Any) -> None:
    """A lane has a name of up to 256 letters, digits and three signs. Others are not repeated."""
    event = invalid(sent(**CREATE, stream_id=name))
    assert event["error"]["code"] == "invalid_stream_id"
    assert "stream_id" not in event


def test_errors_of_a_lane() -> None:
    """The error of a message whose lane can be read names it."""
    assert invalid(sent(type="?", stream_id="a"))["stream_id"] == "a"


def test_headers() -> None:
    """An error tells the headers that a response over HTTP would have."""
    event = json.loads(error_event(RateLimited("m", retry_after=3), "a"))
    assert (event["status"], event["error"]["headers"]) == (429, {"retry-after": "3"})


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "stream_id", "response_id", "starting_after", "generate", "x"]
                ),
                inner | st.sampled_from(["response.create", "response.cancel", "response.resume"]),
                max_size=6,
            )
        ),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes(message: bytes) -> None:
    """Any message is read or refused, and the body of a create is JSON that asks for a stream."""
    found = read(message)
    if isinstance(found, Create):
        assert json.loads(found.body.decode("utf-8-sig"))["stream"] is True
    elif isinstance(found, Invalid):
        json.loads(error_event(found.error, found.stream_id))
