"""Start the local cloud, wait until it ends, and stop it."""

import fcntl
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cli.lib.project import LOCAL, LOGS, CommandError
from cli.lib.stack import LocalStack
from cli.lib.terminal import console, step
from local.cloud import FILE, LocalCloud, LocalCloudError
from local.sagemaker.engine import EngineError, sweep
from local.trust import private

PORT = 4566
DEPLOY_LOG = LOGS / "deploy.log"
_CLOUD_LOG = LOGS / "cloud.log"
_POLL_S = 0.2


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lock a folder, so that two deployments do not run in it at once.

    Raises:
        CommandError: another process holds it.

    """
    private(folder)
    with (folder / "up.lock").open("w") as file:  # the kernel releases it with the process
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("Another `sluice up` is at work. Wait until it is ready.") from None
        yield


def start(
    running: LocalCloud | None, engine: str | None, *, tls: bool, options: Sequence[str]
) -> LocalCloud:
    """Start the local cloud. If one is running with the same options, return it.

    Args:
        running: The local cloud that runs already.
        engine: The container engine that runs models; without one, models run as processes.
        tls: Whether the API speaks HTTPS.
        options: More options of `python -m local`.

    Raises:
        CommandError: it did not start, or the running one has other options.

    """
    if running is not None:
        if running.engine != engine:
            runs = (
                f"containers by {running.engine}"
                if running.engine
                else "processes in place of containers"
            )
            raise CommandError(
                f"The local cloud that is running runs {runs}. Stop it first: sluice down"
            )
        if tls != (running.authority is not None):
            speaks = "plain HTTP" if tls else "HTTPS (--tls)"
            raise CommandError(
                f"The local cloud that is running speaks {speaks}. Stop it first: sluice down"
            )
        if options:
            raise CommandError(
                f"{options[0]} needs a new local cloud, and one is running. Stop it first: sluice "
                "down"
            )
        console.print(f"[green]✓[/green] The local cloud is running [dim](pid {running.pid})[/dim]")
        return running
    for log in (DEPLOY_LOG, *LOGS.glob("function-*.log"), *LOGS.glob("endpoint-*.log")):
        log.unlink(missing_ok=True)  # an earlier local cloud wrote it
    with step("Starting the local cloud"):
        try:
            return LocalCloud.start(LOCAL, port=_port(), engine=engine, tls=tls, options=options)
        except LocalCloudError as error:
            raise CommandError(str(error), log=_CLOUD_LOG) from None


def stop() -> None:
    """Stop the local cloud and all that it started. If none is running, say so.

    Raises:
        CommandError: it does not stop.

    """
    cloud = LocalCloud.find(LOCAL)
    LocalStack.forget()
    try:
        if cloud is None:
            console.print("No local cloud is running.")
        else:
            with step("Stopping the local cloud"):
                cloud.stop()
        if removed := sweep(LOCAL):
            console.print(f"Removed {removed} container(s) that it had left behind.")
    except (LocalCloudError, EngineError) as error:
        raise CommandError(str(error), log=_CLOUD_LOG) from None


def wait(cloud: LocalCloud) -> None:
    """Wait until the local cloud has ended. Ctrl-C stops it.

    Raises:
        CommandError: it was killed, or failed.

    """
    console.print("\n[dim]Ctrl-C stops it.[/dim]")
    try:
        while not cloud.ended():
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        console.print()
        stop()
        return
    if (cloud.directory / FILE).exists():  # a local cloud that is told to stop removes its file
        raise CommandError("The local cloud has ended by itself, or was killed.", log=_CLOUD_LOG)
    console.print("The local cloud was stopped.")


def _port() -> int | None:
    """Return the usual port, or None if another program has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", PORT))
        except OSError:
            console.print(f"[dim]Port {PORT} is taken; the AWS APIs get another one.[/dim]")
            return None
    return PORT
