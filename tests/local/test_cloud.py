"""The process of a local cloud, seen from another process."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from cli.lib import local_cloud
from cli.lib.project import CommandError
from local.cloud import FILE, LocalCloud
from local.trust import Keys


@pytest.fixture
def ended(tmp_path: Path) -> Iterator[LocalCloud]:
    """Yield a local cloud whose process has ended, but whose exit status is not collected."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    yield LocalCloud(tmp_path, process.pid, "http://127.0.0.1:1", Keys.new())
    process.wait()


def written(pid: int) -> str:
    """Return the description that a local cloud writes."""
    return json.dumps(
        {"pid": pid, "endpoint_url": "http://127.0.0.1:1", "keys": asdict(Keys.new())}
    )


def test_one_that_ended_is_gone_before_it_is_collected(ended: LocalCloud) -> None:
    """`sluice down` neither finds an ended process nor waits for it.

    Its parent, `sluice up` in another terminal, has not collected its status yet.
    """
    (ended.directory / FILE).write_text(written(ended.pid))
    assert LocalCloud.find(ended.directory) is None
    ended.stop()


def test_one_that_runs_has_not_ended(tmp_path: Path) -> None:
    """A running process is found, with its address."""
    (tmp_path / FILE).write_text(written(os.getpid()))
    cloud_ = LocalCloud.find(tmp_path)
    assert cloud_ is not None
    assert not cloud_.ended()


def test_up_ends_with_its_cloud(ended: LocalCloud, capsys: pytest.CaptureFixture[str]) -> None:
    """`sluice up` in the foreground reports that its cloud was stopped, and ends.

    If the cloud was killed, it fails.
    """
    local_cloud.wait(ended)
    assert "was stopped" in capsys.readouterr().out
    (ended.directory / FILE).write_text("{}")
    with pytest.raises(CommandError, match="was killed"):
        local_cloud.wait(ended)
