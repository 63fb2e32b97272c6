"""Child processes end with the local cloud."""

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any, cast

import pytest

from local import processes
from local.cloud import LocalCloud, LocalCloudError
from tests.support.local_cloud import CONTAINER


def _group(pid: int) -> set[int]:
    """Return a process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
    group = {pid}
    while more := {child for child, parent in parents.items() if parent in group} - group:
        group |= more
    return group


def _gone(pids: set[int]) -> bool:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        alive = [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and not _zombie(pid)]
        if not alive:
            return True
        time.sleep(0.02)
    return False


def _zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """After SIGTERM, and also after SIGKILL, no process of a local cloud is left."""
    cloud = LocalCloud.start(tmp_path, container=CONTAINER)
    pids = _group(cloud.pid)
    assert len(pids) >= 2
    if number == signal.SIGTERM:
        with pytest.raises(LocalCloudError, match="already running"):
            LocalCloud.start(tmp_path)
        cloud.stop()
        assert LocalCloud.find(tmp_path) is None
        assert not (tmp_path / "cloud.json").exists()
    else:
        os.kill(cloud.pid, number)
        cloud.stop()
    assert _gone(pids)


class _Ended:
    """A process that has ended, whose id another process has now."""

    returncode = 0

    def __init__(self, pid: int) -> None:
        """Take the other's id."""
        self.pid = pid

    async def wait(self) -> int:
        """Return at once."""
        return self.returncode


async def test_a_stranger_with_the_id_of_a_process_that_ended_lives_on() -> None:
    """The ids of processes are used again. A group of another process gets no signal."""
    stranger = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    try:
        await processes.stop(cast("Any", _Ended(stranger.pid)), 0)
        os.kill(stranger.pid, signal.SIGTERM)
        assert await stranger.wait() == -signal.SIGTERM  # and not SIGKILL
    finally:
        with contextlib.suppress(ProcessLookupError):
            stranger.kill()


async def test_a_group_ends_though_its_leader_has_ended(tmp_path: Path) -> None:
    """What a process has left in its group is killed."""
    left = tmp_path / "left"
    leader = await asyncio.create_subprocess_exec(
        *("sh", "-c", f"sleep 600 & echo $! > {left}"), start_new_session=True
    )
    await leader.wait()
    await processes.stop(leader, 0)
    assert _gone({int(left.read_text())})


def test_the_last_lines_are_those_of_the_last_process(tmp_path: Path) -> None:
    """What an earlier process has written to the log does not explain the end of a later one."""
    log = tmp_path / "log"
    log.write_text("old\n")
    size = log.stat().st_size
    with log.open("a") as file:
        file.write("one\n\n two\nthree\n")
    assert processes.last_lines(log, since=size) == "one | two | three"
    assert processes.last_lines(log, 2, since=size) == "two | three"
    assert processes.last_lines(log) == "old | one | two | three"
    assert processes.last_lines(tmp_path / "none") == ""
