"""The target of the attacks: a deployment in a new local cloud, and the findings of each kind."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from local.cloud import LocalCloud

ANSWER_WITHIN_S = 40.0
"""The longest that any answer may take, streams included. Orders of magnitude over what it takes.
"""

MODEL = "sluice-demo"


@contextlib.asynccontextmanager
async def _client(origin: str, key: str | None) -> AsyncIterator[httpx.AsyncClient]:
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=origin,
        headers=headers,
        timeout=ANSWER_WITHIN_S,
        limits=httpx.Limits(max_connections=64),
    ) as client:
        yield client


@dataclass(frozen=True)
class Eyes:
    """A second deployment in the same cloud, of a model that reads images, on vLLM's stand-in."""

    origin: str
    key: str
    model: str
    table: Any

    @property
    def port(self) -> int:
        """The port of its distribution."""
        return urlsplit(self.origin).port or 80

    def client(
        self, key: str | None = None
    ) -> contextlib.AbstractAsyncContextManager[httpx.AsyncClient]:
        """Return a client of the public API, with this key or the deployment's."""
        return _client(self.origin, key or self.key)


@dataclass(frozen=True)
class Target:
    """A deployment: its local cloud, the distribution's address, two keys, and boto3's clients."""

    cloud: LocalCloud
    origin: str
    """`http://localhost:PORT` of the distribution."""
    key: str
    """The attacker's own key, which is valid."""
    other_key: str
    """The neighbour's key."""
    admin_secret: str
    table: Any
    outputs: Mapping[str, str]
    eyes: Eyes
    marker: str
    """A word that is planted in each request. No log may have it."""

    @property
    def address(self) -> tuple[str, int]:
        """The host and port of the distribution."""
        parts = urlsplit(self.origin)
        return parts.hostname or "localhost", parts.port or 80

    def client(
        self, key: str | None = "own"
    ) -> contextlib.AbstractAsyncContextManager[httpx.AsyncClient]:
        """Return a client of the public API.

        `key` is "own" for the attacker's key, None for no key, else a key's text.
        """
        return _client(self.origin, self.key if key == "own" else key)

    def chat(self, **change: Any) -> dict[str, Any]:
        """Return a chat request with `change` in it. It asks for few tokens."""
        return {
            "model": MODEL,
            "max_tokens": 8,
            "messages": [{"role": "user", "content": f"Hello {self.marker}"}],
            **change,
        }


@dataclass
class Findings:
    """The number of attempts of one kind of attack, and what was wrong."""

    kind: str
    tried: int = 0
    wrong: list[str] = field(default_factory=list)

    def check(self, name: str, withstood: object, saw: object = "") -> None:
        """Count one attempt. If it was not withstood, keep `saw` as what was seen."""
        self.tried += 1
        if not withstood:
            self.wrong.append(f"{self.kind}: {name}: {str(saw)[:300]}")

    def refusal(self, name: str, answer: httpx.Response, *statuses: int) -> None:
        """Check that an error has one of the statuses, and the shape of its path's API."""
        self.check(
            name, answer.status_code in statuses, f"{answer.status_code} {answer.text[:200]}"
        )
        with contextlib.suppress(ValueError):
            error = answer.json().get("error", {})
            members = {"message", "type", "param", "code"}
            if answer.request.url.path.startswith("/v1/messages"):
                members = {"message", "type"}
            shaped = members <= error.keys()
            cut = len(error.get("param") or "") <= 200
            self.check(f"{name}: the error's shape", shaped and cut, answer.text[:200])
            return
        self.check(f"{name}: the error's shape", False, answer.text[:200])


async def raw(address: tuple[str, int], sent: bytes, *, seconds: float = 15.0) -> bytes:
    """Send bytes as they are. Return what arrives until the peer closes or `seconds` are over.

    Return nothing if no process listens on the port any more: environments of functions come and
    go.
    """
    try:
        reader, writer = await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return b""
    found = b""
    try:
        writer.write(sent)
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(seconds):
                await writer.drain()
                while len(found) < 1_000_000 and (some := await reader.read(65_536)):
                    found += some
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    return found


def events(text: str) -> list[dict[str, Any]]:
    """Return the JSON values of a stream's `data:` lines, without `[DONE]`."""
    return [
        json.loads(line.removeprefix("data: "))
        for line in text.splitlines()
        if line.startswith("data: ") and line != "data: [DONE]"
    ]
