"""Pages of named origins may call the API, and all others get nothing that lets them read it."""

from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.http.cors import EXPOSED, Cors
from tests.support.function import Call
from tests.support.replies import CHAT, STREAM

APP = "https://app.example.org"
PREFLIGHT = {
    "origin": APP,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os",
}


@pytest.fixture
def ask(make_call: Callable[..., Call]) -> Call:
    """Return a function that calls an application with one origin."""
    return make_call(cors_origins=(APP,))


@pytest.mark.usefixtures("account")
async def test_a_preflight_needs_no_key(ask: Call) -> None:
    """A browser asks before each request, without a key and on any path. The answer has no body."""
    for path in ("/v1/chat/completions", "/v1/models", "/v1/usage"):
        reply = await ask("OPTIONS", path, b"", key=None, more=PREFLIGHT)
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["access-control-allow-origin"] == APP
        assert reply.headers["access-control-allow-methods"] == "GET, HEAD, POST, DELETE"
        assert (
            reply.headers["access-control-allow-headers"]
            == PREFLIGHT["access-control-request-headers"]
        )
        assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.usefixtures("account")
async def test_responses_can_be_read(ask: Call) -> None:
    """Streams, whole answers and errors can be read by a page of the origin, with their headers."""
    asked: list[tuple[dict[str, Any], int]] = [
        ({"body": STREAM}, 200),
        ({"body": CHAT}, 200),
        ({"key": None}, 401),
    ]
    for options, status in asked:
        reply = await ask(**{"body": CHAT, "more": {"origin": APP}, **options})
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (status, APP)
        assert reply.headers["access-control-expose-headers"] == EXPOSED
        assert reply.headers["vary"] == "origin"


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": APP + ".evil.example"},
        {"origin": APP + ":444"},
        {"access-control-request-headers": "a\r\nb"},
    ],
    ids=str,
)
async def test_other_origins(ask: Call, change: dict[str, str]) -> None:
    """A preflight of another origin, or one that is none, is a wrong method as without CORS."""
    reply = await ask("OPTIONS", "/v1/chat/completions", b"", more={**PREFLIGHT, **change})
    assert reply.status == 405
    assert "access-control-allow-methods" not in reply.headers
    if "origin" in change:
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.usefixtures("account")
async def test_the_origin_secret_comes_first(ask: Call) -> None:
    """A preflight that bypasses the distribution is denied like any request."""
    reply = await ask("OPTIONS", "/v1/models", b"", origin="wrong", more=PREFLIGHT)
    assert (reply.status, reply.error["code"]) == (403, "origin_denied")


@pytest.mark.usefixtures("account")
async def test_without_the_setting(call: Call) -> None:
    """Without named origins there is no header of CORS at all."""
    reply = await call(body=CHAT, more={"origin": APP})
    assert reply.status == 200
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_any_origin() -> None:
    """`*` allows every origin, without credentials, and needs no `vary`."""
    found = Cors(("*",))
    assert found.preflight("OPTIONS", {**PREFLIGHT, "origin": "https://evil.example"}) is not None
    assert found.preflight("POST", PREFLIGHT) is None
    assert dict(found.headers({})) == {
        b"access-control-allow-origin": b"*",
        b"access-control-expose-headers": EXPOSED.encode(),
    }
