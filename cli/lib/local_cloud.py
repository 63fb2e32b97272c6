"""Start the local cloud, wait until it ends, and stop it."""

import fcntl
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import IO

from rich.markup import escape

from cli.lib.printable import printable
from cli.lib.project import LOCAL, LOGS, CommandError, why
from cli.lib.stack import LocalStack
from cli.lib.terminal import console, step
from cli.lib.values import counted
from local.cloud import EDGE_PORTS, FILE, STATE, LocalCloud, LocalCloudError, named, owner
from local.sagemaker.engine import EngineError, sweep
from local.trust import private

PORT = 4566
DEPLOY_LOG = LOGS / "deploy.log"
_CLOUD_LOG = LOGS / "cloud.log"
_LOCK = "up.lock"
_PROBES, _PROBE_S = 5, 0.05
"""Attempts to take the lock, and the seconds between them."""
_POLL_S = 0.2
_ROOM_MB = 300
"""Space for the assembly of the stacks, the functions' code and the logs."""


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a folder, so that two deployments do not run in it at once.

    Raises:
        CommandError: another process holds it.

    """
    private(folder)
    with (folder / _LOCK).open("w") as file:  # the kernel releases it with the process
        for _ in range(_PROBES):  # a command that only looks has it for a moment
            if _locked(file):
                break
            time.sleep(_PROBE_S)
        else:
            raise CommandError("Another `sluice up` is at work. Wait until it is ready.")
        yield


def _locked(file: IO[str]) -> bool:
    """Lock a file until it is closed. Return whether it could be, for no other process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_not_starting() -> None:
    """Check that no `sluice up` of another process is about to start the local cloud.

    Raises:
        CommandError: one is, and it cannot be stopped from here.

    """
    if LocalCloud.find(LOCAL) is None and is_up_at_work():
        raise CommandError(
            "The local cloud does not run yet, but a `sluice up` is starting it. Press Ctrl-C "
            "there, or wait until it is ready."
        )


def is_up_at_work() -> bool:
    """Return whether a `sluice up` starts the local cloud or deploys into it."""
    try:
        with (LOCAL / _LOCK).open() as file:
            return not _locked(file)
    except OSError:  # there has been none
        return False


@contextmanager
def answering() -> Iterator[None]:
    """Turn an error of a call of the local cloud into one that says what to do.

    Raises:
        CommandError: the local cloud refused the call, or did not answer.

    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError, LocalCloudError, OSError, HTTPException) as error:
        raise CommandError(unanswered(error)) from None


def unanswered(error: Exception) -> str:
    """Return the message for a call of the local cloud that failed: its process may have ended."""
    from botocore.exceptions import ClientError

    refused = isinstance(error, ClientError | LocalCloudError)
    what = "has refused a call" if refused else "does not answer"
    return (
        f"The local cloud {what}: {why(error).rstrip('.')}. Its log is {_CLOUD_LOG}. Begin anew by "
        "`sluice down` and `sluice up`."
    )


def reusable(
    running: LocalCloud | None,
    engine: str | None,
    *,
    tls: bool,
    options: Sequence[str],
    port: int | None,
) -> LocalCloud | None:
    """Return the running local cloud if it can be used; None if one is to be started.

    One with other options is stopped if nothing is deployed into it: an `up` has left it that
    failed or was killed. The other arguments are those of `start`.

    Raises:
        CommandError: something is deployed into one with other options.

    """
    if running is None:
        return None
    difference = _difference(running, engine, tls=tls, options=options, port=port)
    if not difference:
        console.print(f"[green]✓[/green] The local cloud is running [dim](pid {running.pid})[/dim]")
        return running
    if _has_stacks(running):
        raise CommandError(f"{difference} Stop it first: `sluice down`")
    console.print("[yellow]![/yellow]", escape(f"{difference} Nothing is deployed into it."))
    stop()
    return None


def _difference(
    running: LocalCloud, engine: str | None, *, tls: bool, options: Sequence[str], port: int | None
) -> str:
    """Return in which option the running local cloud differs, as a sentence, or an empty text."""
    if running.engine != engine:
        runs = (
            f"containers by {running.engine}"
            if running.engine
            else "processes in place of containers"
        )
        return f"The local cloud that is running runs {runs}."
    if tls != (running.authority is not None):
        speaks = "plain HTTP" if tls else "HTTPS (--tls)"
        return f"The local cloud that is running speaks {speaks}."
    if options:
        return f"{options[0]} needs a new local cloud, and one is running."
    if port not in {None, running.edge_port}:
        return f"The local cloud that is running has port {running.edge_port} for the API."
    return ""


def _has_stacks(cloud: LocalCloud) -> bool:
    """Return whether a local cloud has a stack other than that of CDK's bootstrapping."""
    import boto3

    with answering():
        formation = boto3.client("cloudformation", **cloud.client_options())
        stacks = formation.describe_stacks()["Stacks"]
    return any(stack["StackName"] != "CDKToolkit" for stack in stacks)


def start(
    engine: str | None, *, tls: bool, options: Sequence[str], port: int | None = None
) -> LocalCloud:
    """Start the local cloud.

    Args:
        engine: The container engine that runs models; without one, models run as processes.
        tls: Whether the API speaks HTTPS.
        options: More options of `python -m local`.
        port: The API's port. None is the last one, else the first free one of `EDGE_PORTS`.

    Raises:
        CommandError: it did not start.

    """
    for log in (DEPLOY_LOG, *LOGS.glob("function-*.log"), *LOGS.glob("endpoint-*.log")):
        log.unlink(missing_ok=True)  # an earlier local cloud wrote it
    if (free := shutil.disk_usage(LOCAL).free >> 20) < _ROOM_MB:
        raise CommandError(
            f"{free} MB are free on the disk of {LOCAL}, and the local cloud needs {_ROOM_MB}. "
            "Make room, and start it again."
        )
    saved = LocalStack.saved()
    usual = (saved and saved.port) or EDGE_PORTS[0]
    edge = [port] if port is not None else list(dict.fromkeys([usual, *EDGE_PORTS]))
    options = [*options, f"--port={PORT}", "--port=0", *(f"--edge-port={one}" for one in edge)]
    with step("Starting the local cloud"):
        try:
            cloud = LocalCloud.start(LOCAL, engine=engine, tls=tls, options=options)
        except LocalCloudError as error:
            raise CommandError(str(error)) from None
    if port is None and cloud.edge_port != usual:
        console.print("[yellow]![/yellow]", escape(printable(taken(usual, cloud.edge_port))))
    return cloud


def taken(usual: int, port: int) -> str:
    """Return who has the usual port, and what to do to get it."""
    folder = owner(usual)
    if folder is not None:
        return (
            f"Port {usual} is taken by {named(folder)}, so the API here has {port}. Both can run. "
            f"To have {usual} here, run `sluice down` there, and here `sluice down` and then "
            f"`sluice up --port {usual}`."
        )
    from local.listeners import holder  # its imports are slow

    return (
        f"Port {usual} is taken by {holder(usual)}, so the API has {port}. `sluice up --port N` "
        "takes that port or stops."
    )


def stop(*, keeps: bool = True) -> None:
    """Stop the local cloud and all that it started. If none is running, say so.

    Args:
        keeps: Whether it is an error that its keys and usage are not kept.

    Raises:
        CommandError: it does not stop, or has not kept its keys and usage.

    """
    cloud = LocalCloud.find(LOCAL)
    try:
        if cloud is None:
            console.print("No local cloud is running.")
        else:
            before = _written(LOCAL / STATE)
            with step("Stopping the local cloud"):
                cloud.stop()
            if keeps and _written(LOCAL / STATE) == before:
                raise CommandError(
                    "The local cloud was stopped, but its keys and usage could not be kept.",
                    log=_CLOUD_LOG,
                )
        if removed := sweep(LOCAL):
            console.print(f"Removed what it had left behind: {counted(removed, 'container')}.")
    except (LocalCloudError, EngineError) as error:
        raise CommandError(str(error), log=_CLOUD_LOG) from None


def wait(cloud: LocalCloud) -> None:
    """Wait until the local cloud has ended. Ctrl-C, SIGTERM or SIGHUP stops it.

    Raises:
        CommandError: it was killed, or failed.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP came, and it is stopped.

    """
    try:
        console.print("\n[dim]Ctrl-C stops it.[/dim]")
        while not cloud.ended():
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        console.print()
        stop()
        raise
    if (cloud.directory / FILE).exists():  # a local cloud that is told to stop removes its file
        raise CommandError("The local cloud has ended by itself, or was killed.", log=_CLOUD_LOG)
    console.print("The local cloud was stopped.")


def reset() -> bool:
    """Forget the keys and usage that were kept. Return whether there were any.

    Raises:
        CommandError: a local cloud is running, which has them.

    """
    if LocalCloud.find(LOCAL) is not None:
        raise CommandError("The local cloud is running. Stop it and forget: `sluice down --reset`")
    path = LOCAL / STATE
    kept = path.exists()
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    LocalStack.forget()
    return kept


def _written(path: Path) -> int:
    """Return when a file was written, in nanoseconds; 0 if it is not there."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
