"""What callers try on the side of requests: bodies that do not come, lengths, headers, and what reaches the log."""

import asyncio
import base64
import json
from typing import Any

import pytest

from lambda_fn import ids, limits
from lambda_fn.errors import BodyTooLarge, InvalidRequest
from lambda_fn.http.responses import read_body
from lambda_fn.runtime.event import to_scope
from lambda_fn.schema import parse_chat
from tests.support.bad_requests import body, function
from tests.support.function import Call
from tests.support.replies import CHAT, STREAM


class Sender:
    """Sends a body in parts, and counts how many were asked for."""

    def __init__(self, part: bytes, count: int) -> None:
        """Send so many of these."""
        self.part, self.count, self.asked = part, count, 0

    async def __call__(self) -> dict[str, Any]:
        """Give the next part."""
        self.asked += 1
        return {"type": "http.request", "body": self.part, "more_body": self.asked < self.count}


async def test_a_body_is_bounded_while_it_is_read() -> None:
    """No part beyond the bound is asked for."""
    sender = Sender(b"x" * 1000, 10**9)
    with pytest.raises(BodyTooLarge):
        await read_body(sender, {})
    assert sender.asked == limits.MAX_BODY // 1000 + 1


@pytest.mark.parametrize("length", [str(limits.MAX_BODY + 1), "9" * 5000, "9" * 1_000_000])
async def test_a_declared_length_is_believed(length: str) -> None:
    """A body that is said to be too large is not read at all, however the length is written."""
    sender = Sender(b"x", 1)
    with pytest.raises(BodyTooLarge):
        await read_body(sender, {"content-length": length})
    assert sender.asked == 0


@pytest.mark.parametrize("length", ["", "-1", "0005", "1e9", "²", "5, 5", str(limits.MAX_BODY)])
async def test_other_lengths_are_not(length: str) -> None:
    """What else is said of the length changes nothing."""
    assert await read_body(Sender(b"hello", 1), {"content-length": length}) == b"hello"


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that stops on its way is given up."""
    monkeypatch.setattr(limits, "BODY_PATIENCE", 0.01)

    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    with pytest.raises(InvalidRequest, match="in time"):
        await read_body(receive, {})


@pytest.mark.parametrize("size", [limits.MAX_BODY - 1, limits.MAX_BODY, limits.MAX_BODY + 1, 6_000_000])
@pytest.mark.parametrize("binary", [False, True])
async def test_no_more_of_an_event_is_decoded(size: int, *, binary: bool) -> None:
    """Of a body that is too large just enough is decoded to see that; one that is not comes whole."""
    text = base64.b64encode(b"x" * size).decode() if binary else "x" * size
    event = {"requestContext": {"http": {"method": "POST"}}, "body": text, "isBase64Encoded": binary}
    data = to_scope(json.dumps(event).encode())[1]
    assert len(data) == size if size <= limits.MAX_BODY else limits.MAX_BODY < len(data) <= limits.MAX_BODY + 3


def test_a_name_ends_where_it_says() -> None:
    """A line feed at the end of a name, or of a token's number, is none of its characters."""
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
async def test_no_answer_is_sniffed(call: Call, path: str, given: Any, *, key: bool) -> None:
    """Each response, a refusal too, tells browsers to take it for what it says it is."""
    options = {} if key else {"key": None}
    method = "POST" if path.endswith("completions") else "GET"
    assert (await call(method, path, given, **options)).headers["x-content-type-options"] == "nosniff"


@pytest.mark.usefixtures("account")
async def test_nothing_of_a_request_is_logged(call: Call, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing that a caller sends, good or bad, is in the log, and each line of it is one JSON object."""
    mark = "MARKER-7f3a"
    user = {"role": "user", "content": mark}
    good = {"model": "m", "messages": [user], "user": mark, "metadata": {mark: mark}, mark: mark, "stop": [mark]}
    tool = function("f", description=mark, parameters={"type": "object", "title": mark})
    headers = {"x-sluice-buffer": mark, "idempotency-key": mark, "user-agent": f"{mark}\n{{}}", "accept": mark}
    for given in (
        good,
        {**good, "stream": True, "tools": [tool]},
        {**good, "model": mark},
        {**good, "messages": [{"role": mark}]},
        {**good, "messages": [{**user, "content": f"{mark}\0"}]},
        {**good, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {mark: "\0"}}}},
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
