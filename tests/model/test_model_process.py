"""`python -m model` as a process: how it starts, refuses to and stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.model.conftest import WEIGHTS, scripted

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """The process with these variables beside the machine's own."""
    return subprocess.Popen(
        [sys.executable, "-m", "model", *arguments],
        cwd=ROOT,
        env={**{k: v for k, v in os.environ.items() if not k.startswith("SLUICE_")}, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.fixture(params=["scripted", "llama_cpp"])
def container(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running container and its address."""
    port = free_port()
    process = command(
        "serve",
        SLUICE_ENGINE=request.param,
        SLUICE_MODEL_DIR=str(WEIGHTS),
        SLUICE_PARALLEL="2",
        SAGEMAKER_BIND_TO_PORT=str(port),
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        yield process, address
    finally:
        process.kill()
        process.communicate()


def wait_for(address: str) -> None:
    """Until it answers /ping."""
    until = time.monotonic() + 15
    while True:
        try:
            if httpx.get(f"{address}/ping", timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            if time.monotonic() > until:
                raise
        time.sleep(0.05)


def test_stops_on_sigterm(container: tuple[subprocess.Popen[str], str]) -> None:
    """SIGTERM ends it with code 0 and nothing left behind."""
    process, address = container
    body = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 5}
    assert httpx.post(f"{address}/invocations", json=body, timeout=10).text.endswith('{"type":"end"}\n')

    process.send_signal(signal.SIGTERM)

    _, log = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "Hello" not in log
    assert "Traceback" not in log


def test_killed_in_the_middle() -> None:
    """A script that ends the process leaves a body without an end."""
    port = free_port()
    process = command("serve", SLUICE_ENGINE="scripted", SAGEMAKER_BIND_TO_PORT=str(port))
    try:
        wait_for(f"http://127.0.0.1:{port}")
        received = b""
        with (  # noqa: PT012 - the parts before the failure are asserted too
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("POST", f"http://127.0.0.1:{port}/invocations", json=scripted(count=9, die_after=3)) as answer,
        ):
            for part in answer.iter_raw():
                received += part
        assert process.wait(5) == 137
    finally:
        process.kill()
        process.communicate()

    assert received.count(b'"delta"}') == 0
    assert received.count(b'"type":"delta"') == 3
    assert b'"end"' not in received


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "reason"),
    [
        ([], {}, 2, "usage"),
        (["train"], {}, 2, "usage"),
        (["serve"], {"SLUICE_ENGINES": "x"}, 1, "SLUICE_ENGINES"),
        (["serve"], {"SLUICE_PARALLEL": "many"}, 1, "SLUICE_PARALLEL"),
        (["serve"], {"SLUICE_MODEL_DIR": "/nowhere"}, 1, "/nowhere"),
    ],
)
def test_refuses_to_start(arguments: list[str], environment: dict[str, str], code: int, reason: str) -> None:
    """What keeps it from starting is one line on stderr, and an exit code."""
    process = command(*arguments, **environment)

    _, log = process.communicate(timeout=15)

    assert process.returncode == code
    assert log.count("\n") == 1
    assert reason in log
