"""Runs the local cloud: the gateway and the data planes in this process, moto in its own."""

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp.http_exceptions import HttpProcessingError

from local import listeners, trust
from local.apigateway.server import Gateways
from local.cloud import ACCOUNT, EDGE_PORTS, FILE, REGION, STATE, LocalCloud, born, description
from local.cloudfront.certificate import ensure
from local.cloudfront.server import Edge
from local.controller import ControlPlane, ControlPlaneError, Observed, Reconciler
from local.faults.plan import Plan
from local.gateway import Gateway
from local.iam import schedules
from local.iam.authorizer import Authorizer
from local.iam.writer import Writer
from local.kept import KeptError, check
from local.lambda_.server import Functions
from local.limits import CONTROL_LIMITS, Limits, override
from local.sagemaker.container import ContainerRunner
from local.sagemaker.engine import sweep
from local.sagemaker.reader import RoleReader
from local.sagemaker.runner import ProcessRunner, Runner
from local.sagemaker.server import Endpoints
from local.shipper import Shipper
from local.state import State

log = logging.getLogger("local")

# SageMaker runs the image's entrypoint with `serve` as the argument.
DEFAULT_CONTAINER = (sys.executable, "-m", "model", "serve")


_LOOK_S = 0.5
# Seconds for functions to end when the local cloud stops and their containers have ended.
_REST_S = 5.0


class StartError(Exception):
    """The local cloud could not start, or had to end. The message is one line."""


@dataclass(frozen=True)
class Options:
    """The options of a local cloud.

    `ports` and `edge_ports` are tried in order for the AWS APIs and for the first distribution; 0
    is any free port. `container` is the command of an endpoint's container; with an
    `engine`, docker or podman, the endpoint's image runs instead. With `tls`, distributions speak
    only HTTPS. `time_scale` is how many seconds of AWS pass in one second here.
    `lambda_concurrency` is how many invocations one environment takes at once; more than one is as
    on Managed Instances. `hosts` are names of distributions in addition to those of loopback.
    `limits` replaces values of the table `local.limits`.
    """

    directory: Path
    ports: tuple[int, ...] = (0,)
    edge_ports: tuple[int, ...] = EDGE_PORTS
    container: tuple[str, ...] = DEFAULT_CONTAINER
    engine: str | None = None
    tls: bool = False
    time_scale: float = 1.0
    lambda_concurrency: int = 1
    hosts: tuple[str, ...] = ()
    limits: Mapping[str, float] = field(default_factory=dict)


async def run(options: Options) -> None:
    """Run until SIGTERM or SIGINT.

    Raises StartError, and EngineError for containers that cannot be removed.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    override(options.limits)
    os.umask(0o077)  # other users must not read what is written here
    for folder in (options.directory, options.directory / "logs"):
        trust.private(folder)
    _log_to(options.directory / "logs" / "cloud.log")
    if LocalCloud.find(options.directory) is None and (left := sweep(options.directory)):
        log.warning("removed %d container(s) of a local cloud that was killed", left)
    removed = asyncio.Event()
    kept = _kept(options.directory / STATE)
    async with AsyncExitStack() as stack:
        try:
            sock = listeners.bind(options.ports)
            stack.callback(sock.close)
            edge_sock = listeners.hold(options.edge_ports)
            stack.callback(edge_sock.close)
        except listeners.PortTaken as error:
            raise StartError(str(error)) from error
        control = ControlPlane(options.directory)
        stack.push_async_callback(control.stop)
        try:
            await control.start(_control_environment(options.limits))
            if kept is not None:
                await control.post("kept", kept)
        except ControlPlaneError as error:
            raise StartError(str(error)) from error
        # It is called when all else has stopped, so nothing changes any more.
        stack.push_async_callback(_keep, options.directory, control, removed)
        await _serve(options, sock, edge_sock, control, stack, stop, removed)


def _kept(path: Path) -> dict[str, Any] | None:
    """Return the state that an earlier local cloud kept.

    Raises StartError if the file cannot be used.
    """
    try:
        return check(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, KeptError) as error:
        why = (error.strerror or "").lower() if isinstance(error, OSError) else str(error)
        raise StartError(
            f"the keys and the usage of the last local cloud cannot be read from {path}: {why}; "
            "to begin without them: sluice up --reset"
        ) from error


async def _keep(directory: Path, control: ControlPlane, removed: asyncio.Event) -> None:
    """Write tables and secrets to a file, unless the folder was removed."""
    if removed.is_set():
        return
    path = directory / STATE
    partial = path.with_suffix(".part")
    try:
        partial.write_bytes(await control.get("kept"))
        partial.replace(path)
    except (OSError, ControlPlaneError) as error:
        log.error("keys and usage could not be kept for the next start: %s", error)
        with contextlib.suppress(OSError):
            partial.unlink()


def _log_to(path: Path) -> None:
    handlers: list[logging.Handler] = [logging.FileHandler(path)]
    # In the background, standard error is already that file.
    handlers += [logging.StreamHandler()] if sys.stderr.isatty() else []
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(name)s %(levelname)s %(message)s",
        handlers=handlers,
    )
    logging.getLogger("aiohttp.server").addFilter(shorten_client_faults)


def shorten_client_faults(record: logging.LogRecord) -> bool:
    """Shorten aiohttp's log record of a client that sent no HTTP, or left.

    Such a client is no fault of the local cloud, so the record needs no traceback. Return True, so
    that the record is logged.
    """
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, (HttpProcessingError, ConnectionError)):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "a client sent no HTTP, or left: %s", (type(error).__name__,)
        record.exc_info = None
    return True


def _control_environment(limits: Mapping[str, float]) -> dict[str, str]:
    """Return the control plane's environment, without the developer's AWS settings."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MOTO_"))
    }
    # Each of its threads would keep memory that it has freed.
    return {**kept, CONTROL_LIMITS: json.dumps(dict(limits)), "MALLOC_ARENA_MAX": "2"}


async def _serve(
    options: Options,
    sock: socket.socket,
    edge_sock: socket.socket,
    control: ControlPlane,
    stack: AsyncExitStack,
    stop: asyncio.Event,
    removed: asyncio.Event,
) -> None:
    endpoint_url = f"http://localhost:{sock.getsockname()[1]}"

    async def apply(state: State) -> None:
        override(state.quotas)
        authorizer.apply(state)
        await functions.apply(state.functions, state.aliases)
        functions.schedule(state.schedules)
        await endpoints.apply(state.endpoints)
        await edge.apply(state.distributions, state.policies)
        await gateways.apply(state.gateways)
        custom_resources.apply(state.custom_requests)

    def observe() -> Observed:
        return {
            "endpoints": endpoints.observe(),
            "distributions": edge.observe(),
            "gateways": gateways.observe(),
        }

    reconciler = Reconciler(control, apply, observe)
    keys = trust.Keys.new()
    authorizer = Authorizer(control, keys)
    writer = Writer(control, authorizer.roles)
    faults = Plan()
    limits = Limits(options.time_scale)
    functions = Functions(
        options.directory,
        endpoint_url,
        control,
        faults,
        limits=limits,
        concurrency=options.lambda_concurrency,
        permitted=partial(schedules.refusal, authorizer.roles),
        refused=authorizer.roles.may_not_invoke,
        send=writer.send,
    )
    custom_resources = functions.custom_resources(keys)
    endpoints = Endpoints(
        options.directory,
        RoleReader(control, authorizer.roles, REGION),
        _runner(options),
        faults=faults,
        on_change=reconciler.observed_changed,
        limits=limits,
        send=writer.send,
    )
    tls = ensure(options.directory).context() if options.tls else None
    edge = Edge(
        functions.port,
        lambda: control.url,
        tls,
        limits=limits,
        hop=functions.hop,
        s3_headers=control.headers,
        names=options.hosts,
        held=edge_sock,
    )

    gateways = Gateways(
        functions,
        authorizer.permit,
        faults,
        limits=limits,
        tls=tls,
        names=options.hosts,
        shipper=Shipper(writer.send),
    )

    def status() -> object:
        state = reconciler.state
        return {
            "functions": functions.status(),
            "endpoints": endpoints.status(),
            "distributions": edge.status(),
            "gateways": gateways.status(),
            "unhandled": list(state.unhandled) if state else [],
            "function_urls": f"http://localhost:{functions.port()}",
        }

    gateway = Gateway(
        control,
        endpoints.invoke,
        functions.invoke,
        status,
        authorizer.middleware,
        faults,
        functions.kill,
    )
    for server in (endpoints, functions, edge, gateways):
        await server.start()
        stack.push_async_callback(server.stop)
    runner = await listeners.serve(
        gateway.app, sock, cancel=True, idle_s=limits.seconds("idle_connection")
    )
    stack.push_async_callback(runner.cleanup)
    tasks = {
        "stop": asyncio.create_task(stop.wait()),
        "control": asyncio.create_task(control.ended()),
        "reconcile": asyncio.create_task(reconciler.run()),
    }
    _announce(options, endpoint_url, edge_sock.getsockname()[1], keys)
    tasks["removed"] = asyncio.create_task(_watch(options.directory, removed))
    log.info("ready at %s", endpoint_url)
    try:
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        failed = [name for name in ("control", "reconcile") if tasks[name].done()]
        if removed.is_set():
            log.warning("%s was removed; stopping", options.directory)
        elif failed and not tasks["stop"].done():
            error = tasks["reconcile"].exception() if tasks["reconcile"].done() else None
            raise StartError(
                f"the control plane has ended ({failed[0]}: {error}); its log is logs/control.log"
            )
        log.info("stopping")
        if not failed:
            # Functions whose answers end now settle them, as they do on AWS.
            await endpoints.drain()
            await functions.rest(_REST_S)
    finally:
        if _is_ours(options.directory):
            (options.directory / FILE).unlink(missing_ok=True)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


def _runner(options: Options) -> Runner:
    if options.engine is not None:
        return ContainerRunner(options.engine, options.directory)
    return ProcessRunner(options.container)


def _is_ours(directory: Path) -> bool:
    """Return whether cloud.json is there and names this process."""
    try:
        content = description(directory)
    except PermissionError:
        return False
    return content is not None and content.get("pid") == os.getpid()


async def _watch(directory: Path, removed: asyncio.Event) -> None:
    """Wait until cloud.json is gone: without it, no command can find or stop this local cloud."""
    while _is_ours(directory):  # noqa: ASYNC110 - no event tells that a file is removed
        await asyncio.sleep(_LOOK_S)
    removed.set()


def _announce(options: Options, endpoint_url: str, edge_port: int, keys: trust.Keys) -> None:
    """Write cloud.json, from which clients read the address and the keys.

    Because of the umask of `run`, only this user can read it.
    """
    content: dict[str, object] = {
        "pid": os.getpid(),
        "born": born(os.getpid()),
        "endpoint_url": endpoint_url,
        "edge_port": edge_port,
        "region": REGION,
        "account": ACCOUNT,
    }
    content["keys"] = asdict(keys)
    authority = str(ensure(options.directory).authority) if options.tls else None
    partial = options.directory / f"{FILE}.part"
    partial.write_text(
        json.dumps({**content, "engine": options.engine, "authority": authority}) + "\n"
    )
    partial.replace(options.directory / FILE)
