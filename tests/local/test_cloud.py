"""The process of a local cloud, seen from another process."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from cli.lib import local_cloud
from cli.lib.project import CommandError
from local import listeners
from local.cloud import FILE, LocalCloud, named, owner
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


def test_one_of_another_user_is_not_called_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder may not be looked into, a local cloud may run."""

    def forbidden(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(PermissionError, match=re.escape(str(tmp_path / FILE))):
        LocalCloud.find(tmp_path)


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


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """Yield the folder and the held port of a process that looks like another local cloud."""
    folder = tmp_path / "ch\udcffeckout" / ".local"
    folder.mkdir(parents=True)
    (tmp_path / "local.py").write_text("input()")
    words = ["python", "-m", "local", "--dir", str(folder)]
    with (
        listeners.hold([0]) as held,
        subprocess.Popen(
            words, executable=sys.executable, cwd=tmp_path, stdin=subprocess.PIPE
        ) as process,
    ):
        port = held.getsockname()[1]
        content = json.loads(written(process.pid)) | {"edge_port": port}
        (folder / FILE).write_text(json.dumps(content))
        yield folder, port
        process.communicate(b"\n")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed in /proc")
def test_another_local_cloud_is_told_by_its_folder(
    neighbour: tuple[Path, int],
) -> None:
    """A port that another checkout's local cloud has is told with that checkout, before it listens.

    Two local clouds may run side by side, so the message says how the port is had here.
    """
    folder, port = neighbour
    assert owner(port) == folder
    assert owner(2) is None
    assert named(folder) == f"the local cloud of {folder.parent}"
    assert named(folder.parent) == f"the local cloud of {folder.parent}"
    with pytest.raises(listeners.PortTaken, match="stop it by `sluice down` there"):
        listeners.hold([port])
    said = local_cloud.taken(port, 8790)
    assert f"Port {port} is taken by the local cloud of {folder.parent}" in said
    assert f"`sluice up --port {port}`" in said


def test_another_program_is_told_by_its_process() -> None:
    """It may be looked up only where it listens."""
    with listeners.bind([0]) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} is taken by " in local_cloud.taken(port, 8790)
        assert "`sluice up --port N`" in local_cloud.taken(port, 8790)
