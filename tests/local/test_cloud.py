"""The process of a local cloud, seen from another process."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import product
from pathlib import Path

import pytest

from cli.lib import local_cloud
from cli.lib.project import CommandError
from local import listeners
from local.cloud import FILE, LocalCloud, born, named, owner
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


@pytest.mark.parametrize("on_linux", [True, False])
def test_a_later_process_of_the_same_number_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, on_linux: bool
) -> None:
    """After a restart of the machine, another process may have the number: it is not stopped."""
    if not on_linux:
        monkeypatch.setattr("local.cloud._PROC", tmp_path)
    began = born(os.getpid())
    assert began
    content = json.loads(written(os.getpid()))
    for text, is_one in ((began, True), (f"{began} before", False), ("", True)):
        (tmp_path / FILE).write_text(json.dumps({**content, "born": text}))
        assert (LocalCloud.find(tmp_path) is not None) is is_one


def test_one_of_another_user_is_not_called_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the folder may not be looked into, or has another user's file, a cloud may run."""

    def forbidden(path: Path, _flags: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    named_so = re.escape(str(tmp_path / FILE))
    with monkeypatch.context() as patched:
        patched.setattr("local.cloud.os.open", forbidden)
        with pytest.raises(PermissionError, match=named_so):
            LocalCloud.find(tmp_path)
    (tmp_path / FILE).write_text(written(os.getpid()))
    monkeypatch.setattr("local.cloud.os.geteuid", lambda: (tmp_path / FILE).stat().st_uid + 1)
    with pytest.raises(PermissionError, match=named_so):
        LocalCloud.find(tmp_path)


def test_the_administrator_finds_that_of_a_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sudo make down` in a user's checkout stops what runs there."""
    (tmp_path / FILE).write_text(written(os.getpid()))
    monkeypatch.setattr("local.cloud.os.geteuid", lambda: 0)
    assert LocalCloud.find(tmp_path) is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(["pid"], [None, "1", True, 0, -1, 1.5, float("inf"), 2**31, 10**30]),
        *product(["edge_port"], [None, "1", True, -1, 65536, float("nan")]),
        *product(["endpoint_url"], [None, 5, "", "http://[::", "http://localhost:99999"]),
        *product(["endpoint_url"], ["http://localhost", "http://localhost:0", "http://a.org:1"]),
        *product(["keys"], [None, [], {}, {"access_key": "a"}]),
        ("keys", asdict(Keys.new()) | {"more": ""}),
        ("keys", asdict(Keys.new()) | {"token": 5}),
        ("keys", asdict(Keys.new()) | {"token": "a\r\nb: c"}),
        ("engine", 5),
        ("authority", ["a"]),
    ],
    ids=lambda it: "keys" if isinstance(it, dict) else repr(it),
)
def test_a_wrong_member_is_as_no_local_cloud(tmp_path: Path, name: str, value: object) -> None:
    """Neither a traceback nor a call comes of it. A missing member is as null."""
    content = json.loads(written(os.getpid()))
    (tmp_path / FILE).write_text(json.dumps(content | {name: value}))
    assert LocalCloud.find(tmp_path) is None


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"5", b"[" * 60_000, b'{"pid": ' + b"1" * 5000 + b"}", b" " * 2**16 + b"{}"],
    ids=["empty", "no text", "no object", "deep", "long number", "long"],
)
def test_what_is_no_description_is_as_no_local_cloud(tmp_path: Path, data: bytes) -> None:
    """Whatever bytes the file has."""
    (tmp_path / FILE).write_bytes(data)
    assert LocalCloud.find(tmp_path) is None


@pytest.mark.parametrize("made", [os.mkfifo, os.mkdir], ids=["FIFO", "folder"])
def test_what_is_no_plain_file_is_not_read(tmp_path: Path, made: Callable[[Path], None]) -> None:
    """Nobody writes into the FIFO, so a reader would wait for ever."""
    made(tmp_path / FILE)
    assert LocalCloud.find(tmp_path) is None


def test_a_process_of_another_user_is_none(
    ended: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a crash, its number may be another user's process, which no signal reaches."""

    def forbidden(_pid: int, _signal: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    (ended.directory / FILE).write_text(written(os.getpid()))
    monkeypatch.setattr("local.cloud.os.kill", forbidden)
    assert LocalCloud.find(ended.directory) is None


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
    words = ["python", "-m", "local", "--dir", str(folder.relative_to(tmp_path))]
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
    neighbour: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A port that another checkout's local cloud has is told with that checkout, before it listens.

    Two local clouds may run side by side, so the message says how the port is had here.
    """
    folder, port = neighbour
    assert owner(port) == folder
    assert owner(2) is None
    with monkeypatch.context() as patched:
        patched.setattr("local.cloud.os.geteuid", lambda: folder.stat().st_uid + 1)
        assert owner(port) is None  # another user's process may call itself anything
    assert named(folder) == f"the local cloud of {folder.parent}"
    assert named(folder.parent) == f"the local cloud of {folder.parent}"
    with pytest.raises(listeners.PortTaken, match="stop it by `sluice down` there"):
        listeners.hold([port])
    said = local_cloud.taken(port, 8790)
    assert f"Port {port} is taken by the local cloud of {folder.parent}" in said
    assert f"`sluice up --port {port}`" in said


@pytest.mark.skipif(sys.platform != "linux", reason="processes are listed in /proc")
@pytest.mark.parametrize("pid", [10**30, os.getpid()], ids=["none", "of another"])
def test_a_process_that_names_no_own_local_cloud_is_passed_by(
    neighbour: tuple[Path, int], pid: int
) -> None:
    """The folder's description is damaged, or is that of another process."""
    folder, port = neighbour
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(content | {"pid": pid}))
    assert owner(port) is None
    with pytest.raises(listeners.PortTaken, match="end that program"):
        listeners.hold([port])


def test_another_program_is_told_by_its_process() -> None:
    """It may be looked up only where it listens."""
    with listeners.bind([0]) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} is taken by " in local_cloud.taken(port, 8790)
        assert "`sluice up --port N`" in local_cloud.taken(port, 8790)
