"""Child processes end with the local cloud."""

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

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
