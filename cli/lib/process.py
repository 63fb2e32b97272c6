"""Run a program, append its output to a log, and show its newest line."""

import contextlib
import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from cli.lib.project import ROOT, CommandError
from cli.lib.terminal import Detail

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LAST_LINES = 12
_END_S = 5.0
"""Seconds from SIGTERM until a program is killed."""


def run_logged(
    command: Sequence[str],
    *,
    name: str,
    log: Path,
    detail: Detail,
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run a program in the repository's folder until it ends.

    It has a process group of its own, which ends with the command that is interrupted.

    Args:
        command: The program and its arguments.
        name: What an error calls the program.
        log: The file that the output is appended to, readable for the user alone.
        detail: Called with each line of the output.
        environment: The program's whole environment; None passes ours on.

    Raises:
        CommandError: the exit status was not 0; the message has the last lines of the output.

    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch(mode=0o600)
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with (
        log.open("a") as file,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        try:
            for line in process.stdout:
                file.write(line)
                if plain := _ESCAPES.sub("", line).strip():
                    last.append(plain)
                    detail(plain)
        except BaseException:
            _end(process)
            raise
    if process.returncode:
        raise CommandError(f"{name} failed:\n    " + "\n    ".join(last), log=log)


def _end(process: "subprocess.Popen[str]") -> None:
    """End a program and what it has started: by SIGTERM, and by SIGKILL what does not obey.

    While a process of the group lives, no other process gets the group's id.
    """
    from local.processes import exists

    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_END_S)
    if process.returncode is None or not exists(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
