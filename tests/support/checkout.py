"""A copy of the working tree in which `make setup` and `make up` are interrupted."""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]

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
TOLD = "setup: stopped by the error above"
_WHOLE = """
import sys
from importlib.metadata import distributions
missing = [str(file) for found in distributions() for file in found.files or ()
           if not file.locate().exists() and not str(file).endswith(".pyc")]
sys.exit(f"missing: {missing[:5]}" if missing else 0)
"""


class NoSuchStepError(Exception):
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
    ) -> str:
        """Send a signal to all processes of a target when a step begins, or in its middle.

        Return what they print after it.

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
                raise NoSuchStepError
            said = process.stdout.read()
        if process.returncode == 0 and target != "setup":  # its steps have no gate
            raise NoSuchStepError
        assert process.returncode != 0, "it had ended before the signal came"
        if target == "setup":  # so the next one begins again, whatever is there
            assert (self.folder / ".venv/.unfinished").exists()
            assert not (self.folder / ".venv/.ready").exists()
        return said

    def check(self) -> None:
        """Fail if a package, a file of one, or a program is missing."""
        for command in (
            [".venv/bin/python", "-m", "pip", "--version"],
            [".venv/bin/python", "-c", _WHOLE],
            [".venv/bin/sluice", "--version"],
            [".venv/bin/node", "node_modules/.bin/cdk", "--version"],
            [".venv/bin/npm", "--version"],
            [".venv/bin/npx", "--no-install", "cdk", "--version"],
        ):
            path = f"{self.folder}/.venv/bin{os.pathsep}{self.environment['PATH']}"
            done = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment | {"PATH": path},
                capture_output=True,
                text=True,
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


def mounted(
    checkout: Checkout, mount: str, *arguments: str, target: str = "setup"
) -> tuple[int, str]:
    """Run a target where `mount` has replaced the checkout; return status and output."""
    script = f"set -e; {mount}; cd {checkout.folder}; exec make {target} {' '.join(arguments)}"
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
        env=checkout.environment, capture_output=True, text=True,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def left(checkout: Checkout) -> list[str]:
    """Return the command lines of processes that run from the checkout."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if f"{checkout.folder}/" in line and not line.startswith("sh -c"):
                found.append(line)
    return found
