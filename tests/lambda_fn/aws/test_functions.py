"""Asynchronous Invoke against a server that checks what botocore would have sent."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lambda_fn import limits
from lambda_fn.aws.functions import Functions, NotInvoked
from lambda_fn.http.client import Client
from tests.support.function import CREDENTIALS


@dataclass
class StandIn:
    """Lambda, which answers with the next of `statuses`, and the last one then."""

    url: str = ""
    statuses: list[int] = field(default_factory=lambda: [202])
    calls: list[tuple[str, str, bytes]] = field(default_factory=list)
    signatures: list[tuple[str, str]] = field(default_factory=list)
    """The signature that came, and botocore's of the same request."""

    async def handle(self, request: web.Request) -> web.Response:
        """Keep the call."""
        body = await request.read()
        self.calls.append((request.raw_path, request.headers["x-amz-invocation-type"], body))
        names = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
        again = botocore.awsrequest.AWSRequest(
            "POST",
            f"{self.url}{request.raw_path}",
            headers={
                name: request.headers[name]
                for name in names.split(";")
                if name not in ("host", "x-amz-date", "x-amz-security-token")
            },
            data=body,
        )
        again.context["timestamp"] = request.headers["x-amz-date"]
        own = botocore.credentials.Credentials(
            CREDENTIALS.access_key, CREDENTIALS.secret_key, CREDENTIALS.token or None
        )
        auth = botocore.auth.SigV4Auth(own, "lambda", "eu-west-1")
        again.headers["X-Amz-Date"] = request.headers["x-amz-date"]
        if CREDENTIALS.token:
            again.headers["X-Amz-Security-Token"] = CREDENTIALS.token
        text = auth.string_to_sign(again, auth.canonical_request(again))
        signature = auth.signature(text, again)
        came = request.headers["authorization"].rpartition("Signature=")[2]
        self.signatures.append((came, signature))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        kind = {"x-amzn-ErrorType": "Kind:http://internal"} if status != 202 else {}
        return web.Response(status=status, headers=kind)


@pytest.fixture(name="stand_in")
async def _stand_in() -> AsyncIterator[StandIn]:
    stand_in = StandIn()
    app = web.Application()
    app.router.add_post("/{path:.*}", stand_in.handle)
    async with TestServer(app) as server:
        stand_in.url = f"http://127.0.0.1:{server.port}"
        yield stand_in


def functions(stand_in: StandIn, http: Client) -> Functions:
    """Return what calls the stand-in."""
    return Functions(http, url=stand_in.url, region="eu-west-1", credentials=lambda: CREDENTIALS)


@pytest.mark.parametrize(("function", "path"), [("small", "small"), ("small:live", "small%3Alive")])
async def test_event(stand_in: StandIn, http: Client, function: str, path: str) -> None:
    """An event is queued for a function or its alias, signed as botocore signs it."""
    await functions(stand_in, http).invoke_later(function, {"a": 1})
    [call] = stand_in.calls
    assert call == (f"/2015-03-31/functions/{path}/invocations", "Event", b'{"a":1}')
    [(came, botocores)] = stand_in.signatures
    assert came == botocores


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_throttled(
    stand_in: StandIn, http: Client, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A call that is throttled or fails is repeated."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    stand_in.statuses = [status, 202]
    await functions(stand_in, http).invoke_later("small", {})
    assert len(stand_in.calls) == 2


async def test_refused(stand_in: StandIn, http: Client) -> None:
    """A refusal is an error with its name, at once."""
    stand_in.statuses = [403]
    with pytest.raises(NotInvoked, match=r"^Kind$"):
        await functions(stand_in, http).invoke_later("small", {})
    assert len(stand_in.calls) == 1


async def test_down(http: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error if nobody answers after all attempts."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    down = StandIn(url=f"http://127.0.0.1:{port}")
    with pytest.raises(NotInvoked):
        await functions(down, http).invoke_later("small", {})
    server.close()
