"""The local cloud as a background process, for tests and commands."""

import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeGuard
from urllib.parse import urlsplit

from local import trust

REGION = "us-east-1"
ACCOUNT = "123456789012"
FILE = "cloud.json"
STATE = "state.json"
EDGE_PORTS = (*range(8787, 8800), 0)
"""The ports that are tried in order for the first distribution, so that it keeps its address."""

_PROC = Path("/proc")
_LONGEST = 2**16
_ADDRESS = re.compile(r"http://(?:localhost|127\.0\.0\.1):([0-9]{1,5})")
_LAST_PID = 2**31 - 1  # a pid_t has 32 bits

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
    plain HTTP. `edge_port` is the port of the first distribution. `born` is when the process began,
    as `born` says.
    """

    directory: Path
    pid: int
    endpoint_url: str
    keys: trust.Keys
    engine: str | None = None
    authority: str | None = None
    edge_port: int = 0
    born: str = ""

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

        One whose description is damaged counts as none, for it ends by itself.

        Raises PermissionError if the folder or the file in it is another user's: a local cloud may
        run there.
        """
        content = description(directory)
        cloud = None if content is None else cls._of(directory, content)
        return None if cloud is None or cloud.ended() else cloud

    @classmethod
    def _of(cls, directory: Path, content: dict[str, Any]) -> Self | None:
        """Return the local cloud that a description has; None if it is not one of `_announce`."""
        pid, keys, url = (content.get(name) for name in ("pid", "keys", "endpoint_url"))
        edge_port = content.get("edge_port", 0)
        texts = (content.get("engine"), content.get("authority"))
        began = content.get("born", "")  # an earlier version has not written it
        address = _ADDRESS.fullmatch(url) if isinstance(url, str) else None
        if (
            not _whole(pid, 1, _LAST_PID)
            or not _whole(edge_port, 0, 65535)
            or address is None
            or not _whole(int(address[1]), 1, 65535)
            or not isinstance(began, str)
            or not all(text is None or isinstance(text, str) for text in texts)
            or not isinstance(keys, dict)
            or keys.keys() != {it.name for it in fields(trust.Keys)}
            or not all(
                isinstance(it, str) and it.isascii() and it.isprintable() for it in keys.values()
            )
        ):
            return None
        return cls(directory, pid, address[0], trust.Keys(**keys), *texts, edge_port, began)

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
        """Return whether the process has ended, for any reason.

        Another process may have its number since, for instance after the machine was started anew.
        """
        return _gone(self.pid) or bool(self.born and born(self.pid) != self.born)

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


def description(directory: Path) -> dict[str, Any] | None:
    """Return what a local cloud has written about itself; None if there is no such JSON object.

    Whatever is there, this neither waits nor reads much: only a plain file is read.

    Raises PermissionError if the folder or the file is another user's. The administrator may read
    both.
    """
    path = directory / FILE
    try:
        # A FIFO without a writer would wait; with this flag it is opened at once.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except PermissionError:
        raise
    except (OSError, ValueError):  # a path with a NUL is a ValueError
        return None
    try:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_size > _LONGEST:
            return None
        if found.st_uid != os.geteuid() != 0:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        content = json.loads(os.read(number, _LONGEST))
    except (ValueError, RecursionError):
        return None
    finally:
        os.close(number)
    return content if isinstance(content, dict) else None


def _whole(value: object, least: int, most: int) -> TypeGuard[int]:
    """Return whether a value of JSON is a whole number within bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def owner(port: int) -> Path | None:
    """Return the folder of the local cloud that has a port for its API or AWS's; None if none has.

    It is one whose process is this user's, on Linux ("proc(5)"): what others' processes call
    themselves proves nothing.
    """
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.stat().st_uid != os.geteuid():
                continue
            words = [os.fsdecode(it) for it in (process / "cmdline").read_bytes().split(b"\0")]
            if words[1:4] != ["-m", "local", "--dir"]:
                continue
            cloud = LocalCloud.find((process / "cwd").readlink() / words[4])
        except OSError:  # it has ended, or its folder is another user's
            continue
        if (
            cloud is not None
            and cloud.pid == int(process.name)
            and port in {cloud.edge_port, urlsplit(cloud.endpoint_url).port}
        ):
            return cloud.directory
    return None


def named(directory: Path) -> str:
    """Return what to call the local cloud of a folder: by its checkout, if that is where it is."""
    return f"the local cloud of {directory.parent if directory.name == '.local' else directory}"


def born(pid: int) -> str:
    """Return when a process began, in the words of the system; empty if there is none.

    On Linux it is the boot's id and the clock ticks since the boot ("proc(5)").
    """
    try:
        ticks = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[19]
        return f"{(_PROC / 'sys/kernel/random/boot_id').read_text().strip()} {ticks}"
    except OSError:  # the process is gone, or the system is not Linux
        return _ps(pid, "lstart")


def _gone(pid: int) -> bool:
    if pid in _children:
        if _children[pid].poll() is None:
            return False
        del _children[pid]
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # another user's process has the number now
        return True
    return _zombie(pid)


def _zombie(pid: int) -> bool:
    """Return whether a process has ended but its parent has not collected its exit status.

    The parent may be a `sluice up` in another terminal.
    """
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
    except OSError:  # the process is gone, or the system is not Linux
        state = _ps(pid, "stat")
    return state.strip()[:1] in {"", "Z", "X"}


def _ps(pid: int, field: str) -> str:
    """Return what `ps` says of a process, empty if there is none or no `ps`."""
    command = ["ps", "-o", f"{field}=", "-p", str(pid)]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:  # as in small images of Linux, where /proc has said it
        return ""
