"""The servers under load: how they are started, reached and warmed up."""

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.adapter import processes
from bench.adapter.load import Client, HttpClient, LambdaClient, SocketClient, run
from bench.adapter.streams import read
from infra.packaging.package import Content, Target, build
from infra.settings.deployment import host_architecture, host_python_version
from infra.settings.function import EventLoop
from local.lambda_.launch import INTERPRETER
from local.lambda_.runtime_api import RuntimeApi

if TYPE_CHECKING:
    import subprocess

ROOT = Path(__file__).parents[2]
_READY_S = 90.0
_MODEL = {"context_tokens": 100_000}
_AWS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "bench",
    "AWS_REGION": "eu-west-1",
    "AWS_DEFAULT_REGION": "eu-west-1",
    "AWS_REGION_NAME": "eu-west-1",
}


LOGGED = {"SLUICE_STREAM_TABLE": "streams", "SLUICE_PERSISTENCE": "all"}
"""The variables of a function that logs every response."""


@dataclass
class Setting:
    """The ports of the stand-ins, and the folder for files."""

    endpoint: int
    table: int
    folder: Path


def settings(setting: Setting) -> dict[str, str]:
    """Return the stream function's environment variables."""
    return {
        "PATH": os.environ["PATH"],
        **_AWS,
        "SLUICE_MODELS": json.dumps(
            {name: {**_MODEL, "endpoint": name} for name in ("lines", "merged", "thinking")}
        ),
        "SLUICE_USAGE_TABLE": "usage",
        "SLUICE_ORIGIN_SECRET": "bench",
        "AWS_ENDPOINT_URL_DYNAMODB": f"http://127.0.0.1:{setting.table}",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"http://127.0.0.1:{setting.endpoint}",
    }


@dataclass
class Server:
    """A running server."""

    name: str
    processes: "list[subprocess.Popen[str]]" = field(default_factory=list)
    port: int = 0
    path: str = "/v1/chat/completions"
    model: str = "lines"
    idle: "asyncio.Queue[RuntimeApi] | None" = None
    event: Callable[[int, int], bytes] | None = None
    """Returns the event of a request for so many tokens at a rate; None is that of a chat."""
    apis: list[RuntimeApi] = field(default_factory=list)
    sockets: bool = False
    """Whether its clients use sockets."""

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that are measured."""
        return [process.pid for process in self.processes]

    async def clients(self, count: int, *, merged: bool = False) -> list[Client]:
        """Return this many connected clients."""
        if self.idle is not None:
            return [LambdaClient(self.idle, merged=merged, event=self.event) for _ in range(count)]
        if self.sockets:
            return [await SocketClient.connect(self.port) for _ in range(count)]
        model = "merged" if merged else self.model
        return [
            await HttpClient.connect(self.port, path=self.path, model=model, merged=merged)
            for _ in range(count)
        ]

    async def warm(self, streams: int) -> None:
        """Send some streams through the server, twice, and wait until they end.

        Raises:
            RuntimeError: a stream of the second time was incomplete.

        """
        for _ in range(2):
            clients = await self.clients(streams)
            recordings = await run(clients, requests=2, tokens=20, rate=0, seconds=60)
            for client in clients:
                client.close()
        if not all(read(recording).complete for recording in recordings):
            raise RuntimeError(f"{self.name} does not answer; its log has the reason")

    def stop(self) -> None:
        """Stop the server."""
        for api in self.apis:
            api.stop()
        processes.stop(self.processes)


async def direct(setting: Setting) -> Server:
    """Return the endpoint itself as a server. It shows the endpoint's share of the time."""
    return Server(
        "direct", port=setting.endpoint, path="/endpoints/lines/invocations-response-stream"
    )


async def relay(setting: Setting) -> Server:
    """Start the byte relay."""
    command = processes.python("-m", "bench.adapter.relay", f"127.0.0.1:{setting.endpoint}")
    process = processes.start(command, log=setting.folder / "relay.log", prints_port=True)
    path = "/endpoints/lines/invocations-response-stream"
    return Server("relay", [process], port=processes.port(process), path=path)


async def sluice_uvicorn(setting: Setting) -> Server:
    """Start the stream function's application under uvicorn."""
    return await _uvicorn(
        "sluice-uvicorn", processes.python("-m", "uvicorn"), "bench.adapter.ours:app", setting
    )


async def sluice_sockets(setting: Setting) -> Server:
    """Start the same application with sockets, on which its clients ask."""
    server = await _uvicorn(
        "sluice-sockets", processes.python("-m", "uvicorn"), "bench.adapter.ours:sockets", setting
    )
    server.sockets = True
    return server


async def tutorial(setting: Setting) -> Server:
    """Start the tutorial's adapter."""
    command = [str(ROOT / processes.PEERS / "python"), "-m", "uvicorn"]
    return await _uvicorn("fastapi-boto3", command, "bench.adapter.peers.tutorial:app", setting)


async def _uvicorn(name: str, command: list[str], app: str, setting: Setting) -> Server:
    with processes.free_port() as port:
        options = [
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--no-access-log",
            "--log-level",
            "warning",
            "--ws-per-message-deflate",
            "false",
        ]
    environment = {**settings(setting), "ENDPOINT_NAME": "lines", "PYTHONPATH": str(ROOT)}
    process = processes.start(
        [*command, app, *options], log=setting.folder / f"{name}.log", environment=environment
    )
    server = Server(name, [process], port=port)
    await _answers(server)
    return server


async def litellm(setting: Setting) -> Server:
    """Start LiteLLM's proxy."""
    url = f"http://127.0.0.1:{setting.endpoint}/endpoints/openai/invocations-response-stream"
    config = {
        "model_list": [
            {
                "model_name": "lines",
                "litellm_params": {"model": "sagemaker_chat/bench", "sagemaker_base_url": url},
            }
        ]
    }
    (setting.folder / "litellm.yaml").write_text(json.dumps(config))  # JSON is valid YAML
    with processes.free_port() as port:
        options = [
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--config",
            str(setting.folder / "litellm.yaml"),
        ]
    environment = {
        **os.environ,
        **_AWS,
        "LITELLM_LOG": "ERROR",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    command = [str(ROOT / processes.PEERS / "litellm"), *options, "--telemetry", "False"]
    process = processes.start(command, log=setting.folder / "litellm.log", environment=environment)
    server = Server("litellm", [process], port=port)
    await _answers(server)
    return server


async def sluice(
    setting: Setting,
    *,
    environments: int = 1,
    concurrency: int = 128,
    one_connection: bool = False,
    event_loop: EventLoop = "asyncio",
    variables: Mapping[str, str] | None = None,
    program: str = "stream",
) -> Server:
    """Start the deployed package on the local Runtime API, in one process or several.

    `setting` has the stand-ins' ports. `environments` is the number of processes. `concurrency`
    is the number of invocations that one process takes at once. `one_connection` and `event_loop`
    are the settings.
    `variables` are further variables of the environment. `program` is the function of the package:
    `stream` or `recall`.
    """
    host = Target(
        python_version=host_python_version(), architecture=host_architecture(), wheels="host"
    )
    content: Content = "uvloop" if event_loop == "uvloop" else "function"
    package = build(root=ROOT, target=host, content=content).path
    name = "sluice" if concurrency > 1 else "sluice-per-invocation"
    if program != "stream":
        name = f"sluice-{program}"
    if one_connection:
        name = "sluice-one-connection"
    if event_loop == "uvloop":
        name = "sluice-uvloop"
    server = Server(name, idle=asyncio.Queue())
    variables = {
        "SLUICE_ONE_CONNECTION": str(one_connection).lower(),
        "SLUICE_EVENT_LOOP": event_loop,
        **(variables or {}),
    }
    for _ in range(environments):
        await environment(
            server, package, setting, concurrency, variables=variables, program=program
        )
    async with asyncio.timeout(_READY_S):
        # A queue has no event for its size.
        while server.idle is not None and server.idle.qsize() < environments * concurrency:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return server


async def environment(
    server: Server,
    package: Path,
    setting: Setting,
    concurrency: int,
    notify: Callable[[], None] = lambda: None,
    variables: Mapping[str, str] | None = None,
    program: str = "stream",
) -> None:
    """Add an environment to a server. `notify` is called each time it asks for an invocation."""
    idle = server.idle
    assert idle is not None  # noqa: S101 (a server on the Runtime API)

    def on_next() -> None:
        notify()
        idle.put_nowait(api)

    api = RuntimeApi(on_next, print, concurrency)
    port = await api.start()
    settings_of = {
        **settings(setting),
        **(variables or {}),
        "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{port}",
        "LAMBDA_TASK_ROOT": str(package),
        "_HANDLER": f"lambda_fn.{program}.main.handler",
        **({"AWS_LAMBDA_MAX_CONCURRENCY": str(concurrency)} if concurrency > 1 else {}),
    }
    command = [str(package / "bootstrap"), INTERPRETER, "/var/runtime/bootstrap.py"]
    server.apis.append(api)
    server.processes.append(
        processes.start(command, log=setting.folder / f"{server.name}.log", environment=settings_of)
    )


async def _answers(server: Server) -> None:
    until = time.monotonic() + _READY_S
    while True:
        try:
            for client in await server.clients(1):
                client.close()
            return
        except OSError:
            if time.monotonic() > until or any(
                process.poll() is not None for process in server.processes
            ):
                raise RuntimeError(
                    f"{server.name} does not start; its log has the reason"
                ) from None
            await asyncio.sleep(0.1)


async def start(name: str, setting: Setting, streams: int) -> Server:
    """Start a server by its name, for at most this many streams."""
    if name == "sluice-per-invocation":
        return await sluice(setting, environments=streams, concurrency=1)
    if name == "sluice-one-connection":
        return await sluice(setting, one_connection=True)
    if name == "sluice-uvloop":
        return await sluice(setting, event_loop="uvloop")
    starters = {
        "direct": direct,
        "relay": relay,
        "sluice": sluice,
        "sluice-uvicorn": sluice_uvicorn,
        "fastapi-boto3": tutorial,
        "litellm": litellm,
    }
    return await starters[name](setting)


def stand_ins(
    folder: Path, *, table: int = 0, model: int = 0
) -> "tuple[Setting, Sequence[subprocess.Popen[str]]]":
    """Start the stand-in endpoint and table. Return their ports and processes.

    The table answers after `table` milliseconds, and paced answers of the model begin after
    `model` milliseconds.
    """
    started = [
        processes.start(
            processes.python("-m", f"bench.adapter.{name}", *options),
            log=folder / f"{name}.log",
            prints_port=True,
        )
        for name, options in (("endpoint", (str(model),)), ("table", (str(table),)))
    ]
    ports = [processes.port(process) for process in started]
    return Setting(ports[0], ports[1], folder), started
