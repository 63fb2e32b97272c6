"""`python -m model` as a process: its start, failed starts, and its end."""

from __future__ import annotations

import asyncio
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from model.__main__ import serve
from model.answers import Timing
from model.errors import StartError
from model.server import CLOSE_SECONDS, DRAIN_SECONDS, LAST_SECONDS, listen
from tests.support.container_process import ROOT, command, free_port, wait_for
from tests.support.model import WEIGHTS, scripted

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator


@pytest.fixture(params=["scripted", "llama_cpp"])
def container(request: pytest.FixtureRequest) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a running container and its address."""
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


def test_stops_on_sigterm(container: tuple[subprocess.Popen[str], str]) -> None:
    """SIGTERM ends the process with code 0, and nothing is left behind."""
    process, address = container
    body = {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 5}
    assert httpx.post(f"{address}/invocations", json=body, timeout=60).text.endswith(
        '{"type":"end"}\n'
    )

    process.send_signal(signal.SIGTERM)

    _, log = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "Hello" not in log
    assert "Traceback" not in log


def test_killed_in_the_middle() -> None:
    """If a script kills the process, the body has no proper end."""
    port = free_port()
    process = command("serve", SLUICE_ENGINE="scripted", SAGEMAKER_BIND_TO_PORT=str(port))
    try:
        wait_for(f"http://127.0.0.1:{port}")
        received = b""
        with (  # noqa: PT012 - the parts before the failure are asserted too
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream(
                "POST", f"http://127.0.0.1:{port}/invocations", json=scripted(count=9, die_after=3)
            ) as answer,
        ):
            for part in answer.iter_raw():
                received += part
        assert process.wait(60) == 137
    finally:
        process.kill()
        process.communicate()

    assert received.count(b'"delta"}') == 0
    assert received.count(b'"type":"delta"') == 3
    assert b'"end"' not in received


@pytest.mark.parametrize("arguments", [[], ["train"]])
def test_wrong_arguments(arguments: list[str]) -> None:
    """For anything but the two commands, the program prints its usage."""
    process = command(*arguments)

    _, log = process.communicate(timeout=60)

    assert (process.returncode, log) == (2, "usage: python -m model serve|settings\n")


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"SLUICE_ENGINES": "x"}, "SLUICE_ENGINES is not a setting"),
        ({"SLUICE_ENGINE": "gpt"}, "one of llama_cpp, scripted"),
        ({"SLUICE_PARALLEL": "many"}, "SLUICE_PARALLEL='many': a whole number from 1 to 256"),
        ({"SLUICE_MODEL_DIR": "/nowhere"}, "/nowhere: No such file"),
        (
            {"SLUICE_MODEL_DIR": str(ROOT / "docs")},
            "exactly one GGUF model is needed, there is none",
        ),
    ],
)
def test_refuses_to_start(environment: dict[str, str], reason: str) -> None:
    """The reason of a failed start is one line on stderr and the answer of a failing /ping.

    Then the process exits with a code.
    """
    port = free_port()
    process = command(
        "serve", SLUICE_HOST="127.0.0.1", SAGEMAKER_BIND_TO_PORT=str(port), **environment
    )
    assert process.stderr is not None
    line = process.stderr.readline()

    ping = httpx.get(f"http://127.0.0.1:{port}/ping", timeout=60)
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=60)

    assert line.startswith("model: cannot start: ")
    assert reason in line
    assert rest == ""
    assert ping.status_code == 503
    assert reason in ping.json()["error"]["message"]
    assert process.returncode == 1


async def test_ends_by_itself_when_it_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that cannot start ends by itself."""
    monkeypatch.setattr("model.__main__.LINGER_SECONDS", 0.05)

    assert await serve({"SLUICE_ENGINE": "gpt", "SAGEMAKER_BIND_TO_PORT": str(free_port())}) == 1


async def test_port_is_taken() -> None:
    """The error names a port that another program uses."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            StartError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"
        ):
            await serve(
                {
                    "SLUICE_HOST": "127.0.0.1",
                    "SAGEMAKER_BIND_TO_PORT": str(port),
                    "SLUICE_ENGINE": "scripted",
                }
            )


async def test_tokens_do_not_wait_for_acknowledgements() -> None:
    """Connections of the server's listener send small packets at once."""
    seen: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        seen.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    with listen("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(connected, sock=listener):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            assert await seen
            writer.close()


def test_drain_fits_into_sagemakers_grace() -> None:
    """All phases of a stop take under 25 s. SageMaker kills the container after 30 s."""
    assert DRAIN_SECONDS + LAST_SECONDS + CLOSE_SECONDS < 25
    assert Timing().last_write < LAST_SECONDS


def test_drain() -> None:
    """After SIGTERM /ping fails, new and waiting requests are a 503, and running ones complete.

    Then the process ends.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = command(
        "serve", SLUICE_ENGINE="scripted", SLUICE_PARALLEL="1", SAGEMAKER_BIND_TO_PORT=str(port)
    )
    unread = scripted(
        repeat="x" * 20_000, count=1000, prompt_tokens=1
    )  # more than buffers can hold, so it runs until it is read
    try:
        wait_for(address)
        with (
            ThreadPoolExecutor(1) as threads,
            httpx.stream("POST", f"{address}/invocations", json=unread, timeout=60) as answer,
        ):
            lines = answer.iter_lines()
            next(lines)
            waiting = threads.submit(
                httpx.post, f"{address}/invocations", json=scripted(say=["a"]), timeout=60
            )
            while b"sluice_requests_waiting 1.0" not in httpx.get(f"{address}/metrics").content:
                pass
            process.send_signal(signal.SIGTERM)
            refused = waiting.result()
            ping = httpx.get(f"{address}/ping")
            new = httpx.post(f"{address}/invocations", json=scripted(say=["a"]))
            last = list(lines)[-1]
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()

    assert last == '{"type":"end"}'
    for refusal in (refused, ping, new):
        assert refusal.status_code == 503
        assert refusal.json()["error"]["message"] == "the container is shutting down"
        assert refusal.headers["retry-after"] == "5"
