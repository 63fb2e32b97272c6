"""The local cloud as a background process, for tests and commands."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from local import trust

REGION = "us-east-1"
ACCOUNT = "123456789012"
FILE = "cloud.json"
STATE = "state.json"
EDGE_PORTS = (*range(8787, 8800), 0)
"""The ports that are tried in order for the first distribution, so that it keeps its address."""

# Seconds from the signal until the process is killed. The process gives containers 30 s of that.
_STOP_TIMEOUT_S = 60.0


# Local clouds that this process started, and whose exit status it has to collect.
_children: dict[int, "subprocess.Popen[bytes]"] = {}


class LocalCloudError(Exception):
    """The local cloud did not start or stop, or refused a request; the message is one line."""


class LocalCloudRefusal(LocalCloudError):
    """A request's body or query is wrong."""


@dataclass(frozen=True)
class LocalCloud:
    """A running local cloud: its process, address, folder and keys.

    `engine` runs the images of its endpoints; None means that endpoints are processes. `authority`
    is the file with the certificate authority that clients of distributions must trust; None means
    plain HTTP. `edge_port` is the port of the first distribution.
    """

    directory: Path
    pid: int
    endpoint_url: str
    keys: trust.Keys
    engine: str | None = None
    authority: str | None = None
    edge_port: int = 0

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        port: int | None = None,
        container: Sequence[str] = (),
        engine: str | None = None,
        tls: bool = False,
        options: Sequence[str] = (),
        timeout: float = 60,
    ) -> Self:
        """Start a local cloud and wait until it is ready.

        It keeps running after this process ends, until it is stopped. `container` replaces `python
        -m model serve` as the command of every endpoint's container; with an `engine`, the deployed
        image runs instead. `options` are further options of `python -m local`.

        Raises LocalCloudError.
        """
        running = cls.find(directory)
        if running is not None:
            raise LocalCloudError(
                f"A local cloud is already running in {directory} (pid {running.pid})"
            )
        logs = directory / "logs"
        trust.private(directory)
        trust.private(logs)
        command = [sys.executable, "-m", "local", "--dir", str(directory)]
        command += ["--port", str(port)] if port is not None else []
        command += ["--container", json.dumps(list(container))] if container else []
        command += ["--engine", engine] if engine is not None else []
        command += ["--tls"] if tls else []
        command += options
        log = logs / "cloud.log"
        log.touch(mode=0o600)
        with log.open("ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        ends = time.monotonic() + timeout
        try:
            while time.monotonic() < ends:
                cloud = cls.find(directory)
                if cloud is not None and cloud.pid == process.pid:
                    _children[process.pid] = process
                    return cloud
                if process.poll() is not None:
                    break
                time.sleep(0.05)
        except KeyboardInterrupt:  # the child is the leader of a session and got no signal
            process.kill()
            process.wait()
            raise
        process.kill()
        process.wait()
        reason = "".join((logs / "cloud.log").read_text(errors="replace").splitlines()[-1:])
        reason = reason.removeprefix("local: ")
        raise LocalCloudError(
            f"The local cloud did not start: {reason} (log: {logs / 'cloud.log'})"
        )

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """Return the local cloud that runs in a folder, or None.

        Raises PermissionError if the folder is another user's: a local cloud may run there.
        """
        try:
            text = (directory / FILE).read_text()
        except PermissionError:
            raise
        except (OSError, ValueError):
            return None
        try:
            content = json.loads(text)
            pid = int(content["pid"])
            if _gone(pid):
                return None
            keys = trust.Keys(**content["keys"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(
            directory,
            pid,
            content["endpoint_url"],
            keys,
            content.get("engine"),
            content.get("authority"),
            content.get("edge_port", 0),
        )

    def aws_environment(self) -> dict[str, str]:
        """Return the environment variables that point AWS clients to this cloud."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint_url,
            "AWS_ENDPOINT_URL_S3": self.endpoint_url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self.keys.access_key,
            "AWS_SECRET_ACCESS_KEY": self.keys.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": REGION,
        }

    def client_options(self) -> dict[str, str]:
        """Return the arguments that point a boto3 client to this cloud, with its keys."""
        return {
            "endpoint_url": self.endpoint_url,
            "region_name": REGION,
            "aws_access_key_id": self.keys.access_key,
            "aws_secret_access_key": self.keys.secret_key,
        }

    def ask(self, path: str, *, method: str = "GET", body: object = None) -> Any:
        """Return the JSON of a path below `/_local/`, such as `status`.

        Raises LocalCloudError with the reason of a refusal (LocalCloudRefusal if the request is
        wrong), and OSError if there is no answer.
        """
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.endpoint_url}/_local/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.keys.token}"},
            method=method,
        )
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                kind = LocalCloudRefusal if error.code == 400 else LocalCloudError
                raise kind(json.load(error)["message"]) from None

    def unhandled(self) -> list[dict[str, str]]:
        """Return the deployed resources that the local cloud does not handle.

        Each has `stack`, `logical_id`, `type` and `effect`, which says in words what does not work.
        """
        resources: list[dict[str, str]] = self.ask("status")["unhandled"]
        return resources

    def ended(self) -> bool:
        """Return whether the process has ended, for any reason."""
        return _gone(self.pid)

    def stop(self) -> None:
        """Stop the local cloud and every process it started.

        Raises LocalCloudError if it has to be killed.
        """
        try:
            os.kill(self.pid, signal.SIGTERM)
        except ProcessLookupError:
            return
        ends = time.monotonic() + _STOP_TIMEOUT_S
        while time.monotonic() < ends:
            if _gone(self.pid):
                return
            time.sleep(0.05)
        os.kill(self.pid, signal.SIGKILL)
        (self.directory / FILE).unlink(missing_ok=True)
        raise LocalCloudError(
            f"The local cloud did not stop within {_STOP_TIMEOUT_S:.0f} s and was killed"
        )


def owner(port: int) -> Path | None:
    """Return the folder of the local cloud that has a port for its API or AWS's; None if none has.

    It is one whose process this user may look at, on Linux ("proc(5)").
    """
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = [os.fsdecode(word) for word in file.read_bytes().split(b"\0")]
            if words[1:4] != ["-m", "local", "--dir"]:
                continue
            cloud = LocalCloud.find(Path(words[4]))
        except OSError:  # it has ended, or is another user's
            continue
        if cloud is not None and port in {cloud.edge_port, urlsplit(cloud.endpoint_url).port}:
            return cloud.directory
    return None


def named(directory: Path) -> str:
    """Return what to call the local cloud of a folder: by its checkout, if that is where it is."""
    return f"the local cloud of {directory.parent if directory.name == '.local' else directory}"


def _gone(pid: int) -> bool:
    if pid in _children:
        if _children[pid].poll() is None:
            return False
        del _children[pid]
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return _zombie(pid)


def _zombie(pid: int) -> bool:
    """Return whether a process has ended but its parent has not collected its exit status.

    The parent may be a `sluice up` in another terminal.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:  # the process is gone, or the system is not Linux
        state = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True
        ).stdout
    return state.strip()[:1] in {"", "Z", "X"}
