"""Hostile requests: stalled bodies, wrong lengths, odd headers, and texts in the log."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import ids, limits
from lambda_fn.errors import BodyTooLarge, InvalidRequest
from lambda_fn.http.responses import read_body
from lambda_fn.runtime.event import to_scope
from lambda_fn.schema import parse_chat
from lambda_fn.stream.middleware import _headers
from tests.support.bad_requests import body, function
from tests.support.function import Call
from tests.support.replies import CHAT, STREAM


class Sender:
    """Sends a body in parts, and counts how many were read."""

    def __init__(self, part: bytes, count: int) -> None:
        """Send `part` `count` times."""
        self.part, self.count, self.read = part, count, 0

    async def __call__(self) -> dict[str, Any]:
        """Return the next part."""
        self.read += 1
        return {"type": "http.request", "body": self.part, "more_body": self.read < self.count}


async def test_a_body_is_bounded_while_it_is_read() -> None:
    """No part beyond the bound is read."""
    sender = Sender(b"x" * 1000, 10**9)
    with pytest.raises(BodyTooLarge):
        await read_body(sender, {})
    assert sender.read == limits.MAX_BODY // 1000 + 1


@pytest.mark.parametrize("length", [str(limits.MAX_BODY + 1), "9" * 5000, "9" * 1_000_000])
async def test_a_declared_length_is_believed(length: str) -> None:
    """A body whose declared length is too large is not read, in any notation of the length."""
    sender = Sender(b"x", 1)
    with pytest.raises(BodyTooLarge):
        await read_body(sender, {"content-length": length})
    assert sender.read == 0


@pytest.mark.parametrize("length", ["", "-1", "0005", "1e9", "²", "5, 5", str(limits.MAX_BODY)])
async def test_other_declared_lengths_are_ignored(length: str) -> None:
    """A declared length that is small or malformed has no effect."""
    assert await read_body(Sender(b"hello", 1), {"content-length": length}) == b"hello"


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that stops arriving is given up."""
    monkeypatch.setattr(limits, "BODY_TIMEOUT", 0.01)

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    with pytest.raises(InvalidRequest, match="in time"):
        await read_body(receive, {})


@pytest.mark.parametrize(
    "size",
    [
        limits.MAX_BODY_WITH_IMAGES - 1,
        limits.MAX_BODY_WITH_IMAGES,
        limits.MAX_BODY_WITH_IMAGES + 1,
        6_000_000,
    ],
)
@pytest.mark.parametrize("binary", [False, True])
async def test_a_body_over_the_limit_is_not_decoded_whole(size: int, *, binary: bool) -> None:
    """A base-64 body that is too large is decoded only as far as needed to see that."""
    text = base64.b64encode(b"x" * size).decode() if binary else "x" * size
    event = {
        "requestContext": {"http": {"method": "POST"}},
        "body": text,
        "isBase64Encoded": binary,
    }
    data = to_scope(json.dumps(event).encode())[1]
    assert (
        len(data) == size
        if size <= limits.MAX_BODY_WITH_IMAGES
        else limits.MAX_BODY_WITH_IMAGES < len(data) <= limits.MAX_BODY_WITH_IMAGES + 3
    )


def test_a_name_ends_where_it_says() -> None:
    """A line feed at the end of a name, or of a token's number, is an error."""
    for change in ({"tools": [function("f\n")]}, {"logit_bias": {"5\n": 1}}):
        with pytest.raises(InvalidRequest):
            parse_chat(body(change))


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("path", "given", "key"),
    [
        ("/v1/chat/completions", CHAT, True),
        ("/v1/chat/completions", STREAM, True),
        ("/v1/chat/completions", b"{", True),
        ("/v1/chat/completions", CHAT, False),
        ("/v1/models", b"", True),
        ("/v1/openapi.json", b"", False),
        ("/v1/nothing", b"", True),
        ("/v1/chat/completions/", b"", True),
    ],
)
async def test_no_response_is_sniffed(call: Call, path: str, given: Any, *, key: bool) -> None:
    """Each response, also a rejection, tells browsers to keep to its content type."""
    options = {} if key else {"key": None}
    method = "POST" if path.endswith("completions") else "GET"
    assert (await call(method, path, given, **options)).headers[
        "x-content-type-options"
    ] == "nosniff"


@pytest.mark.usefixtures("account")
async def test_nothing_of_a_request_is_logged(
    call: Call, capfd: pytest.CaptureFixture[str]
) -> None:
    """The log has nothing that a caller sends, valid or not.

    Each of its lines is one JSON object.
    """
    mark = "MARKER-7f3a"
    user = {"role": "user", "content": mark}
    good = {
        "model": "m",
        "messages": [user],
        "user": mark,
        "metadata": {mark: mark},
        mark: mark,
        "stop": [mark],
    }
    tool = function("f", description=mark, parameters={"type": "object", "title": mark})
    headers = {
        "x-sluice-buffer": mark,
        "idempotency-key": mark,
        "user-agent": f"{mark}\n{{}}",
        "accept": mark,
    }
    for given in (
        good,
        {**good, "stream": True, "tools": [tool]},
        {**good, "model": mark},
        {**good, "messages": [{"role": mark}]},
        {**good, "messages": [{**user, "content": f"{mark}\0"}]},
        {
            **good,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": {mark: "\0"}},
            },
        },
        f'{{"{mark}":'.encode(),
        b'{"model":"m","messages":"\\ud800' + mark.encode(),
    ):
        for more in ({}, headers):
            await call(body=given, more=more)
            await call(path="/v1/completions", body=given, more=more)
            await call(body=given, more=more, key=f"sk-{mark}")
            await call(body=given, more=more, key=ids.new_key(), origin=mark)
    await call("GET", f"/v1/models/{mark}")
    await call("GET", f"/v1/{mark}")
    out, error = capfd.readouterr()
    assert '"event":"request"' in out
    assert mark not in out + error
    assert all(json.loads(line)["event"] for line in out.splitlines())


def test_repeated_headers() -> None:
    """Of a repeated header the first counts, so that no second key is read; lists are joined."""
    found = _headers(
        [
            (b"accept", b"text/plain"),
            (b"authorization", b"Bearer first"),
            (b"accept", b"*/*"),
            (b"authorization", b"Bearer second"),
        ]
    )
    assert found == {"accept": "text/plain, */*", "authorization": "Bearer first"}


@pytest.mark.usefixtures("account")
async def test_settings_say_how_strictly_requests_are_read(make_call: Callable[..., Call]) -> None:
    """`strict` and `loose_tool_history` hold for chats and completions of a deployment."""
    no_tools = {**CHAT, "tools": [], "tool_choice": "auto"}
    stops = {"model": "m", "prompt": "hi", "stop": ["a"] * 5}
    alone = {"role": "tool", "tool_call_id": "c", "content": "1"}
    history = {**CHAT, "messages": [*CHAT["messages"], alone]}
    statuses = {}
    for strict, loose in ((False, False), (True, True)):
        call = make_call(strict=strict, loose_tool_history=loose)
        statuses[strict] = [
            (await call("POST", path, asked)).status
            for path, asked in (
                ("/v1/chat/completions", no_tools),
                ("/v1/completions", stops),
                ("/v1/chat/completions", history),
            )
        ]
    assert statuses == {False: [200, 200, 400], True: [400, 400, 200]}
