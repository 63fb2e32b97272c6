"""Child processes that cannot outlive the local cloud."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> "partial[object] | None":
    if sys.platform != "linux":
        return None
    # The library is loaded at import, not between fork and exec.
    return partial(ctypes.CDLL(None, use_errno=True).prctl, _PR_SET_PDEATHSIG, signal.SIGKILL)


# The kernel kills a child whose parent has ended for any reason. On other systems a killed local
# cloud leaves its children behind; a stopped one does not.
DIE_WITH_PARENT = _die_with_parent()


async def start(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    directory: Path,
    output: IO[bytes] | int,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int | None = None,
) -> asyncio.subprocess.Process:
    """Start a process in its own session.

    So Ctrl-C reaches only this process, and the new process's group can be killed. `output` takes
    standard output and standard error. If `stdout` is set, it takes standard output instead.

    Raises OSError.
    """
    return await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        cwd=directory,
        stdin=stdin,
        stdout=output if stdout is None else stdout,
        stderr=output,
        start_new_session=True,
        preexec_fn=DIE_WITH_PARENT,  # this process runs one thread when it forks
    )


async def stop(process: asyncio.subprocess.Process, grace: float) -> None:
    """End a process and all of its group with SIGTERM, and after `grace` seconds with SIGKILL."""
    if process.returncode is None and grace > 0:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), grace)
    if process.returncode is None or not exists(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def exists(pid: int) -> bool:
    """Return whether a process has this id.

    The leader of a group may have ended before others of it. While these live, no process gets the
    leader's id. So one that has it is a stranger, and so is its group.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def last_lines(path: Path, count: int = 5, *, since: int = 0) -> str:
    """Return the last lines of a log, joined by ' | ', for a message of one line.

    Those before the byte `since` are left out: an earlier process wrote them.
    """
    try:
        with path.open("rb") as file:
            file.seek(max(0, since, path.stat().st_size - 4096))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return " | ".join(line.strip() for line in lines[-count:] if line.strip())
