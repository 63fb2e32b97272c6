"""`make setup` and `make up` are interrupted everywhere, and the next one mends what was left.

`make test-setup` runs this. The packages come from the caches of pip, uv and npm, which the first
set-up fills; all others are without a network. `unshare` (Linux) mounts the disk that is full and
the one that is read-only. `-v` lists what is interrupted, where and how.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.setup

STEPS = ("virtual environment", "uv", "Python packages", "this project's commands", "CDK CLI")
UP_STEPS = (
    "Starting the local cloud",
    "Bootstrapping CDK",
    "Deploying the stacks",
    "Creating an API key",
    "Why stream tokens?",
)
_ENDS = {
    step: f"setup: {STEPS[number + 1]}" if number + 1 < len(STEPS) else "touch .venv/.ready"
    for number, step in enumerate(STEPS)
}
"""What the first line of a recipe after each step contains."""
_GATE = """\
#!/bin/sh
# The shell of make. The line that contains $GATE waits there for a signal.
case "$2" in *"$GATE"*) exec sleep 60;; esac
exec /bin/sh "$@"
"""
_LONGEST_WAIT_S = 2.0
_TOLD = "setup: stopped by the error above"
_WHOLE = """
import sys
from importlib.metadata import distributions
missing = [str(file) for found in distributions() for file in found.files or ()
           if not file.locate().exists() and not str(file).endswith(".pyc")]
sys.exit(f"missing: {missing[:5]}" if missing else 0)
"""


class _NoSuchStepError(Exception):
    """The target ended well without the step that was to be interrupted, or before the signal."""


@dataclass
class Checkout:
    """A copy of the working tree without installed packages, and how long each step takes."""

    folder: Path
    environment: dict[str, str]
    seconds: dict[str, float] = field(default_factory=dict)

    def make(self, target: str = "setup", gate: str | None = None) -> "subprocess.Popen[str]":
        """Start `make` with a target, as the leader of a process group.

        It waits before the line of the recipe that contains `gate`.
        """
        held: list[str] = []
        if gate is not None:
            shell = self.folder / "build/gate.sh"
            shell.parent.mkdir(exist_ok=True)
            shell.write_text(_GATE)
            shell.chmod(0o755)
            held = [f"SHELL={shell}"]
        return subprocess.Popen(
            ["make", target, *held],
            cwd=self.folder,
            env=self.environment | {"GATE": gate or ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def complete(self, target: str = "setup") -> str:
        """Run a target to its end, note the time of each step, and return the output."""
        with self.make(target) as process:
            assert process.stdout is not None
            output, step, since = [], "", time.monotonic()
            for line in process.stdout:
                output.append(line)
                if found := _step(line):
                    self.seconds[step], step, since = (
                        time.monotonic() - since,
                        found,
                        time.monotonic(),
                    )
            self.seconds[step] = time.monotonic() - since
        assert process.returncode == 0, "".join(output)
        return "".join(output)

    def interrupt(
        self,
        step: str,
        where: Literal["at", "within"],
        number: signal.Signals,
        target: str = "setup",
    ) -> None:
        """Send a signal to all processes of a target when a step begins, or in its middle.

        A step of a set-up cannot end before the signal comes, however fast it is: the gate is
        behind it.
        """
        with self.make(target, _ENDS.get(step) if where == "within" else None) as process:
            assert process.stdout is not None
            before = []
            for line in process.stdout:
                before.append(line)
                if _step(line) == step:
                    if where == "within":
                        # a moment within, whichever it is
                        time.sleep(min(self.seconds[step] / 2, _LONGEST_WAIT_S))
                    os.killpg(process.pid, number)
                    break
            else:
                assert process.wait() == 0, "".join(before)
                raise _NoSuchStepError
            process.stdout.read()
        if process.returncode == 0 and target != "setup":  # its steps have no gate
            raise _NoSuchStepError
        assert process.returncode != 0, "it had ended before the signal came"
        if target == "setup":  # so the next one begins again, whatever is there
            assert (self.folder / ".venv/.unfinished").exists()
            assert not (self.folder / ".venv/.ready").exists()

    def check(self) -> None:
        """Fail if a package, a file of one, or a program is missing."""
        for command in (
            [".venv/bin/python", "-m", "pip", "--version"],
            [".venv/bin/python", "-c", _WHOLE],
            [".venv/bin/sluice", "--version"],
            [".venv/bin/node", "node_modules/.bin/cdk", "--version"],
        ):
            done = subprocess.run(
                command, cwd=self.folder, env=self.environment, capture_output=True, text=True
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert not (self.folder / ".venv/.unfinished").exists()

    def forget(self) -> None:
        """Stop the local cloud, and forget its keys and usage, so that `make up` has all steps."""
        subprocess.run(
            [".venv/bin/sluice", "down", "--reset"],
            cwd=self.folder, env=self.environment, capture_output=True, check=True,
        )  # fmt: skip

    def remove(self) -> None:
        """Remove what was installed."""
        for name in (".venv", "node_modules"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


def _step(line: str) -> str | None:
    """Return the step that begins with a line."""
    for step in STEPS:
        if line.startswith(f"setup: {step}"):
            return step
    return next((step for step in UP_STEPS if line.startswith((f"  … {step}", step))), None)


@pytest.fixture(scope="module", autouse=True)
def signals() -> Iterator[None]:
    """Start commands that take the signals, also where this process was told to ignore them."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """Yield a copy of the working tree whose packages are in local caches.

    It is on the disk of the working tree, as uv's cache may be: uv then makes links and no copies.
    """
    folder = ROOT / "build/setup"
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and (ROOT / name).stat().st_size < 3_000_000:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    wheels = tmp_path_factory.mktemp("wheels")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    made = Checkout(folder, bare)
    made.complete()
    subprocess.run(
        [".venv/bin/python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels,
         "-r", ".venv/uv.txt"],
        cwd=folder, check=True,
    )  # fmt: skip
    made.environment = {
        **bare,
        "UV_OFFLINE": "1",
        "npm_config_offline": "true",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }
    made.remove()
    made.complete()
    made.check()
    yield made
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGKILL), (signal.SIGKILL, signal.SIGINT)],
)
def test_an_interrupted_set_up_is_mended(
    checkout: Checkout, first: signal.Signals, second: signal.Signals
) -> None:
    """Each step is interrupted where it begins, and within it by the next set-up. Each gets past
    what the one before left, and the last one mends all.
    """
    checkout.remove()
    for step in STEPS:
        checkout.interrupt(step, "at", first)
        checkout.interrupt(step, "within", second)
    checkout.complete()
    checkout.check()


def test_an_interrupted_update_is_mended(checkout: Checkout) -> None:
    """A set-up that brings a complete installation up to date may be interrupted, too."""
    checkout.complete()
    (checkout.folder / "locks/dev.txt").touch()
    checkout.interrupt("Python packages", "at", signal.SIGKILL)
    checkout.complete()
    checkout.check()


def test_an_environment_without_pip_is_mended(checkout: Checkout) -> None:
    """What earlier versions left after Ctrl-C has no mark, but no pip either."""
    checkout.remove()
    subprocess.run(
        ["python3", "-m", "venv", "--without-pip", ".venv"], cwd=checkout.folder, check=True
    )
    checkout.complete()
    checkout.check()


def _mounted(
    checkout: Checkout, mount: str, *arguments: str, target: str = "setup"
) -> tuple[int, str]:
    """Run a target where `mount` has replaced the checkout; return status and output."""
    script = f"set -e; {mount}; cd {checkout.folder}; exec make {target} {' '.join(arguments)}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        env=checkout.environment, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def _kilobytes(folder: Path) -> int:
    """Return what the files of a folder take on a disk."""
    used = subprocess.run(["du", "-sk", folder], check=True, capture_output=True, text=True).stdout
    return int(used.split()[0])


@pytest.mark.parametrize(
    ("room", "needed", "told"),
    [
        (80, (), "MB are free on the disk of this folder"),
        (4, ("NEEDED=0",), _TOLD),  # within the virtual environment
        (80, ("NEEDED=0",), _TOLD),  # within the packages
    ],
)
def test_a_full_disk_is_told(
    checkout: Checkout, room: int, needed: tuple[str, ...], told: str
) -> None:
    """Too little space is told before the first step; a disk that gets full, at that step.

    `room` is what the disk has beside the checkout, in MB.
    """
    checkout.remove()
    there = checkout.folder
    size = f"{room * 1024 + _kilobytes(there)}k"
    mount = (
        f"cp -a {there} {there}.copy; mount -t tmpfs -o size={size} none {there}; "
        f"cp -a {there}.copy/. {there}; rm -rf {there}.copy"
    )
    status, output = _mounted(checkout, mount, *needed)
    assert status != 0
    assert told in output


def test_a_disk_that_was_full_is_mended(checkout: Checkout) -> None:
    """When there is room again, the next set-up ends well. This takes 1.2 GB of memory."""
    checkout.remove()
    there = checkout.folder
    mount = (
        f"cp -a {there} {there}.copy; mount -t tmpfs -o size=100m none {there}; "
        f"cp -a {there}.copy/. {there}; rm -rf {there}.copy; cd {there}; "
        f"! make setup NEEDED=0; mount -o remount,size=2g {there}"
    )
    status, output = _mounted(checkout, mount, "NEEDED=0")
    assert status == 0, output
    assert _TOLD in output


def test_a_read_only_folder_is_told(checkout: Checkout) -> None:
    """A folder that cannot be written stops the set-up at its first step, with the reason."""
    checkout.remove()
    there = checkout.folder
    mount = f"mount --bind {there} {there}; mount -o remount,bind,ro {there}"
    status, output = _mounted(checkout, mount)
    assert status != 0
    assert "Read-only file system" in output
    assert _TOLD in output


def _left(checkout: Checkout) -> list[str]:
    """Return the command lines of processes that run from the checkout."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{checkout.folder}/" in line and not line.startswith("sh -c"):
                found.append(line)
    return found


def test_an_interrupted_up_is_mended(checkout: Checkout) -> None:
    """`make up` is interrupted where each step begins and within it; then it ends well.

    Meanwhile another program takes the port that the API had. After `make down` nothing is left.
    """
    checkout.complete("up")
    checkout.complete("down")
    port = json.loads((checkout.folder / ".local/stack.json").read_text())["base_url"]
    for step, first, second in (
        *((step, signal.SIGINT, signal.SIGKILL) for step in UP_STEPS),
        (UP_STEPS[2], signal.SIGKILL, signal.SIGINT),
    ):
        try:
            checkout.interrupt(step, "at", first, "up")
        except _NoSuchStepError:  # it had been done, and the rest ended well
            checkout.forget()
            checkout.interrupt(step, "at", first, "up")
        with contextlib.suppress(_NoSuchStepError):  # likewise
            checkout.interrupt(step, "within", second, "up")
    checkout.complete("down")
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # another program of this machine has it already
            taken.bind(("127.0.0.1", int(port.rpartition(":")[2].removesuffix("/v1"))))
            taken.listen()
        output = checkout.complete("up")
    assert "is taken by another program" in output
    assert "Ready after" in output
    checkout.complete("down")
    assert _left(checkout) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [("-o size=1m", "MB are free on the disk of"), ("-o ro,size=9m", "Read-only file system")],
    ids=["full", "read-only"],
)
def test_a_disk_without_room_for_a_cloud_is_told(
    checkout: Checkout, options: str, told: str
) -> None:
    """Where `.local` is full or read-only, `make up` says so and leaves nothing behind."""
    local = checkout.folder / ".local"
    local.mkdir(exist_ok=True)
    status, output = _mounted(checkout, f"mount -t tmpfs {options} none {local}", target="up")
    assert status != 0
    assert told in output
    assert "Traceback" not in output
    checkout.complete("down")
    assert _left(checkout) == []
