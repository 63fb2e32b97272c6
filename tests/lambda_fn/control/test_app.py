"""The middleware of the admin API: authentication and the bounds of a request."""

import json
from typing import Any, cast

import pytest
from starlette.types import Message

from lambda_fn.control import sizes
from lambda_fn.control.app import PREFIX, Middleware, create_api
from lambda_fn.control.auth import AdminSecret, Gate
from lambda_fn.control.services import Services
from lambda_fn.control.trail import Identity, Trail


class Secret:
    """An admin secret with one value."""

    async def accepts(self, secret: str) -> str | None:
        """Return its version."""
        return "v1" if secret == "right" else None


class Refusals:
    """A trail that keeps nothing."""

    async def refused(self, identity: Identity, action: str, code: str | None) -> None:
        """Discard the rejection."""


class Read:
    """A request that counts how many parts of its body are read."""

    def __init__(self, body: bytes) -> None:
        """Split the body into parts."""
        self._parts = [body[start : start + 1000] for start in range(0, len(body), 1000)] or [b""]
        self.count = 0

    async def __call__(self) -> Message:
        """Return the next part."""
        part = self._parts[self.count]
        self.count += 1
        return {"type": "http.request", "body": part, "more_body": self.count < len(self._parts)}


@pytest.fixture(scope="module")
def front() -> Middleware:
    """Return the whole application without a table. No request of this file needs one."""
    api = create_api(Services(cast("Any", None), ("demo",)))
    return Middleware(api, Gate(cast("AdminSecret", Secret()), ("o",)), cast("Trail", Refusals()))


async def call(
    front: Middleware,
    body: bytes,
    *,
    path: str = "/keys",
    bearer: str = "right",
    query: bytes = b"",
    method: str = "POST",
) -> tuple[int, dict[str, Any], dict[str, str], int]:
    """Make a request. Return status, error, headers, and how many parts of the body were read."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    named = {
        "x-sluice-origin-secret": "o",
        "authorization": f"Bearer {bearer}",
        "content-type": "application/json",
    }
    headers = [(name.encode(), value.encode()) for name, value in named.items()]
    read = Read(body)
    scope = {
        "type": "http",
        "method": method,
        "path": PREFIX + path,
        "headers": headers,
        "query_string": query,
    }
    await front(scope, read, send)
    body_ = json.loads(b"".join(message.get("body", b"") for message in sent))
    headers_ = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], body_.get("error", {}), headers_, read.count


def keys(count: int) -> bytes:
    """Return an object with `count` unknown fields."""
    return json.dumps({f"k{number}": 1 for number in range(count)}, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/keys", b'{"name":"' + b"x" * sizes.BODY + b'"}', 413, "request_too_large"),
        ("/keys", b" " * 6_000_000, 413, "request_too_large"),
        ("/nothing", b" " * 6_000_000, 413, "request_too_large"),
        ("/replay", b" " * 6_000_000, 413, "request_too_large"),
        ("/replay", keys(80_000), 400, "array_above_max_length"),
        ("/keys", keys(5_000), 400, "array_above_max_length"),
        ("/keys", keys(1_000), 400, None),
        (
            "/keys",
            b'{"name":' + b"[" * 50_000 + b"]" * 10_000 + b"}",
            400,
            "array_above_max_length",
        ),
        ("/keys", b'{"name":' + b"[" * 3_000 + b"]" * 3_000 + b"}", 400, None),
        ("/keys", b'{"name":' + b"[" * 3_000, 400, "invalid_json"),
        (
            "/keys",
            b'{"name":"x","limits":{"tokens_per_day":' + b"9" * 60_000 + b"}}",
            400,
            "invalid_json",
        ),
        ("/keys", b"\xff" * 60_000, 400, "invalid_json"),
    ],
)
async def test_a_body_is_bounded(
    front: Middleware, path: str, body: bytes, status: int, code: str | None
) -> None:
    """A body with too many bytes or values is rejected before it is parsed.

    No more of it is read.
    """
    returned, error, _, count = await call(front, body, path=path)
    assert returned == status, error
    assert error.keys() == {"message", "type", "param", "code"}
    assert code in {None, error["code"]}
    assert count <= sizes.REPLAY_BODY / 1000 + 1


@pytest.mark.parametrize("length", [sizes.QUERY + 1, 6_000_000])
async def test_a_query_is_bounded(front: Middleware, length: int) -> None:
    """Too long a query string is rejected, and the body is not read."""
    status, error, _, count = await call(front, b"", query=b"a&" * (length // 2 + 1), method="GET")
    assert (status, error["code"], count) == (400, "query_too_long", 0)


async def test_the_secret_comes_before_the_body(front: Middleware) -> None:
    """Without the admin secret, no byte of the body is read."""
    status, _, _, count = await call(front, b" " * 6_000_000, bearer="wrong")
    assert (status, count) == (401, 0)


async def test_the_document_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The OpenAPI document needs no secret. It is made once."""
    api = create_api(Services(cast("Any", None), ("demo",)))
    front = Middleware(api, Gate(None, ("o",)), cast("Trail", Refusals()))
    assert (await call(front, b"", path="/openapi.json", method="GET"))[0] == 200
    monkeypatch.setattr(api, "openapi", None)
    assert (await call(front, b"", path="/openapi.json", method="GET"))[0] == 200


@pytest.mark.parametrize(
    ("path", "secret", "method"),
    [
        ("/keys", "wrong", "POST"),
        ("/keys", "right", "POST"),
        ("/keys", "right", "PUT"),
        ("/nothing", "right", "GET"),
        ("/openapi.json", "", "GET"),
    ],
)
async def test_no_answer_is_sniffed(front: Middleware, path: str, secret: str, method: str) -> None:
    """Each response, also an error, tells browsers not to guess its type."""
    _, _, headers, _ = await call(front, b"", path=path, bearer=secret, method=method)
    assert headers["x-content-type-options"] == "nosniff"
