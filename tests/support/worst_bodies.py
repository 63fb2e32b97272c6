"""Measure what the bodies of `corpus` cost the application.

    python -m tests.support.worst_bodies [name ...]

It prints a JSON object a line: the body's name, the response's status, and the cost. Each body is
measured in a separate process with a bounded address space: a fork of one that has imported
everything.

`ratio` is the CPU time of the whole application over that of `msgspec.json.decode` of the same
body. If a plain chat of the same size takes longer to decode, its time is used: a body that is
rejected at its first byte is decoded in no time. Both times are the least ones of runs that take
turns. Other processes take caches and memory bandwidth, which adds to CPU times. So a ratio over
the limit is measured again, up to `MOST_RUNS` times. One that is far below it is believed after
`FEW_RUNS` turns.
`growth` is the rise of the peak of resident memory, in bytes.
"""

import asyncio
import contextlib
import ctypes
import gc
import json
import math
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import msgspec

from bench.adapter import frames
from lambda_fn import ids
from lambda_fn.auth import Caller, wrong_key
from lambda_fn.aws.signing import Credentials
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.ledger import Opening
from lambda_fn.settings import Model, Settings
from lambda_fn.stream import app as application
from lambda_fn.stream import pipeline
from lambda_fn.stream.admit import Admission
from tests.support.asgi import request
from tests.support.corpus import BODIES, COMPLETIONS, MESSAGES, PLAIN, RESPONSES, SIZE

ADDRESS_SPACE = 1_500_000_000
TIME = 20
"""The limit of `ratio`."""
FEW_RUNS = 2
RUNS = 5
MOST_RUNS = 60
"""Runs after which a ratio over `TIME` is believed."""
SHORTEST = 0.005
"""Seconds of CPU time of one measurement at least."""
KEY = ids.new_key()


class Gate:
    """A gate that knows only `KEY`."""

    def __init__(self, *_: object, **__: object) -> None:
        """Take the real gate's arguments."""

    async def authenticate(self, caller: Caller) -> None:
        """Reject every other key, as the table would."""
        if caller.key_hash != ids.hash_key(KEY):
            raise wrong_key()

    async def check_key(self, caller: Caller) -> Account:
        """Reject every other key. The result is not used."""
        await self.authenticate(caller)
        return SimpleNamespace(models=None)  # type: ignore[return-value]

    async def admit(self, caller: Caller, opening: Opening, **_: object) -> Admission:
        """Admit the request."""
        await self.authenticate(caller)
        return Admission(opening)


class Peer:
    """A stand-in for the endpoint's client and its exchange. It answers three tokens."""

    status, headers, connected = 200, dict[str, str](), True

    def __init__(self) -> None:
        """Begin without an answer."""
        self.loop = SimpleNamespace(
            call_at=lambda *_: SimpleNamespace(when=lambda: 9e9, cancel=lambda: None)
        )
        self.sent = 0
        parts, ending = frames.answer("lines", 3)
        self._parts = [
            part.split(b"\r\n", 1)[1][:-2] for part in (*parts, ending.removesuffix(b"0\r\n\r\n"))
        ]

    def send(
        self,
        method: str,
        origin: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
        **_: object,
    ) -> "Peer":
        """Record the size of the request, joined as the client does it."""
        self.sent = len(b"\r\n".join((method.encode(), path.encode())) + body)
        self._left = iter((*self._parts, b""))
        return self

    async def head(self) -> bool:
        """Return the head at once."""
        return True

    async def read(self, take: object = None) -> bytes:
        """Return the next part. `take` is not called: nothing comes while this waits."""
        return next(self._left)

    def wake(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


async def _settled(*_: object, **__: object) -> None:
    """Settle nothing."""


@contextlib.contextmanager
def stubbed_app() -> Iterator[Any]:
    """Yield the real application over this file's gate and endpoint."""
    settings = Settings(
        region="eu-west-1",
        usage_table="t",
        models={"m": Model(endpoint="e", context_tokens=100)},
        origin_secrets=("o",),
        dynamodb_url="http://d",
        sagemaker_url="http://s",
    )
    with patch.object(application, "Gate", Gate), patch.object(pipeline, "settle", _settled):
        yield application.create_app(settings, Peer(), lambda: Credentials("AKID", "SECRET", ""))  # type: ignore[arg-type]


async def call(
    app: Any, body: bytes, *, path: str = "/v1/chat/completions", key: str = KEY
) -> tuple[int, bytes]:
    """Call the application as Lambda's runtime does, with the body in one message.

    Return status and response.
    """
    headers = [(b"x-sluice-origin-secret", b"o"), (b"authorization", b"Bearer " + key.encode())]
    reply = await request(app, "POST", path, body, headers=headers)
    return reply.status, reply.body


def timed(
    *runs: Callable[[], object], excess: Callable[[list[float]], float] = lambda _: 1.0
) -> list[float]:
    """Return the least CPU seconds of each function. They run in turns.

    Short functions are repeated until they can be timed. Disturbances only add to a time, so the
    minimum is the best estimate. `excess` returns the share of its limit that it has. There are
    `FEW_RUNS` turns for less than a quarter, and up to `MOST_RUNS` for more than all.
    """
    least = [math.inf for _ in runs]
    for turn in range(MOST_RUNS):
        if turn >= RUNS and excess(least) <= 1:
            break
        if turn >= FEW_RUNS and excess(least) <= 1 / 4:
            break
        for number, run in enumerate(runs):
            count, began = 0, time.thread_time()
            while (passed := time.thread_time() - began) < SHORTEST:
                run()
                count += 1
            least[number] = min(least[number], passed / count)
    return least


def decoded(body: bytes) -> None:
    """Decode a body to Python's own types. Malformed bodies are ignored."""
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return


def _memory(name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def in_child(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Call a function in a fork of this process whose address space is bounded.

    If the fork dies, the result says so.
    """
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        try:
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
            found = work()
        except BaseException as error:  # noqa: BLE001 (it is all told)
            found = {"failed": f"{type(error).__name__}: {error}"[:300]}
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return json.loads(said) if said else {"failed": "killed"}


def measure(body: bytes, path: str) -> dict[str, Any]:
    """Measure the cost of a body: its memory in one process, its time in another."""
    with stubbed_app() as app:
        return _measure(app, body, path)


def _measure(app: Any, body: bytes, path: str) -> dict[str, Any]:
    run = asyncio.new_event_loop().run_until_complete

    def growth() -> dict[str, Any]:
        gc.collect()
        before = _memory("VmRSS")
        status, said = run(call(app, body, path=path))
        return {
            "growth": _memory("VmHWM") - before,
            "status": status,
            "answer": said[:2000].decode(),
        }

    def ratio() -> dict[str, Any]:
        def ratio_of(least: list[float]) -> float:
            took, plain, same = least
            return took / max(plain, same)

        least = timed(
            lambda: run(call(app, body, path=path)),
            lambda: decoded(PLAIN),
            lambda: decoded(body),
            excess=lambda least: ratio_of(least) / TIME,
        )
        return {"ratio": ratio_of(least), "milliseconds": least[0] * 1000}

    return in_child(growth) | in_child(ratio)


def unknown(size: int) -> float:
    """Return the CPU milliseconds of a chat of this many bytes whose caller has no key."""
    run = asyncio.new_event_loop().run_until_complete
    body = PLAIN[: size - 4] + b'"}]}'
    with stubbed_app() as app:
        assert run(call(app, body, key=ids.new_key()))[0] == 401
        return timed(lambda: run(call(app, body, key=ids.new_key())))[0] * 1000


def _trim() -> None:
    """Return freed memory to the system, so that it does not hide what a body takes."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def main() -> None:
    """Measure all bodies, or those that are named."""
    gc.freeze()
    for path, bodies in (
        ("/v1/chat/completions", BODIES),
        ("/v1/completions", COMPLETIONS),
        ("/v1/messages", MESSAGES),
        ("/v1/responses", RESPONSES),
    ):
        for name, make in bodies.items():
            if len(sys.argv) == 1 or name in sys.argv:
                body = make()
                assert len(body) <= SIZE, name
                _trim()
                print(
                    json.dumps({"name": name, "size": len(body), **measure(body, path)}), flush=True
                )
                del body
    if len(sys.argv) == 1:
        print(
            json.dumps({"name": "unknown", **{str(size): unknown(size) for size in (1000, SIZE)}})
        )


if __name__ == "__main__":
    main()
