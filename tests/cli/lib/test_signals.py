"""Signals that end a command."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cli.commands import up
from cli.lib import local_cloud
from cli.lib.admin_api import Admin
from cli.lib.signals import Ended, ending, undivided
from cli.lib.stack import LocalStack
from cli.main import main

if TYPE_CHECKING:
    from local.cloud import LocalCloud

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture
def handled() -> Iterator[None]:
    """Handle the signals as in a terminal, also where this process was told to ignore them."""
    before = {number: signal.getsignal(number) for number in ENDING}
    for number in ENDING:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, usual)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("number", ENDING)
def test_a_foreground_cloud_ends_with_its_command(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ctrl-C, SIGTERM and SIGHUP stop the local cloud that `sluice up --foreground` waits for.

    A second signal meanwhile changes nothing.
    """
    stopped: list[bool] = []

    def ended() -> bool:
        os.kill(os.getpid(), number)
        return False

    def stop() -> None:
        if number != signal.SIGINT:
            os.kill(os.getpid(), number)
        stopped.append(True)

    def bring_up(*_: Any, **__: Any) -> Any:
        return SimpleNamespace(ended=ended)

    monkeypatch.setattr(up, "_bring_up", bring_up)
    monkeypatch.setattr(up, "LOCAL", tmp_path)
    monkeypatch.setattr(local_cloud, "stop", stop)
    assert main(["up", "--foreground"]) == 128 + number
    assert stopped == [True]


@pytest.mark.usefixtures("handled")
def test_handlers_are_put_back() -> None:
    """Outside of the block, signals do what they did; what was ignored stays ignored within."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    terminate = signal.getsignal(signal.SIGTERM)
    try:
        with ending():
            os.kill(os.getpid(), signal.SIGHUP)
            with pytest.raises(Ended):
                os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGTERM) is terminate
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("handled")
@pytest.mark.parametrize("number", ENDING)
def test_an_undivided_block_comes_to_its_end(number: signal.Signals) -> None:
    """A signal waits for its end, also if the block fails, and then ends the command."""
    done: list[signal.Signals] = []

    def work(*, fails: bool) -> None:
        with undivided():
            os.kill(os.getpid(), number)
            done.append(number)
            if fails:
                raise OSError

    for fails in (False, True):
        with ending(), pytest.raises(KeyboardInterrupt):
            work(fails=fails)
    assert done == [number, number]


@pytest.mark.usefixtures("handled")
def test_a_key_that_is_made_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the key is made comes after it is saved: the next `sluice up` uses it."""
    outputs = {"UsageTableName": "t", "DistributionDomain": "localhost:1", "ModelName": "m"}
    saved: list[LocalStack] = []

    def make(*_: Any) -> dict[str, str]:
        signal.raise_signal(signal.SIGINT)
        return {"secret": "sk-new"}

    cloud = SimpleNamespace(aws_environment=dict, unhandled=list, authority=None, pid=1)
    monkeypatch.setattr(up, "_is_bootstrapped", lambda _: True)
    monkeypatch.setattr("cli.lib.cdk.deploy", lambda **_: outputs)
    monkeypatch.setattr(Admin, "of", lambda *_: make)
    monkeypatch.setattr(LocalStack, "saved", lambda: None)
    monkeypatch.setattr(LocalStack, "save", lambda stack: saved.append(stack))
    with pytest.raises(KeyboardInterrupt):
        up._deploy(cast("LocalCloud", cloud), {}, name="sluice", tls=False)
    assert [stack.api_key for stack in saved] == ["sk-new"]


_CLEANS_UP = """
import fcntl, signal, sys, termios, time
from pathlib import Path
from cli.lib.signals import ending, interruptible
from cli.lib.streams import prepare

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests were told to ignore it
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # to this process, the leader of its session, it hangs up
prepare()
with interruptible(), ending():
    try:
        print("begun", flush=True)
        time.sleep(60)
    finally:
        print("stopping", flush=True)
        print("stopping", file=sys.stderr, flush=True)
        Path(sys.argv[1]).touch()
"""


def test_a_command_whose_terminal_closes_can_clean_up(tmp_path: Path) -> None:
    """The clean-up may print: nothing can be written to the terminal that is gone."""
    mark = tmp_path / "cleaned-up"
    master, terminal = pty.openpty()
    command = [sys.executable, "-c", _CLEANS_UP, str(mark)]
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    ):
        os.close(terminal)
        seen = b""
        while b"begun" not in seen:
            seen += os.read(master, 1024)
        os.close(master)
    assert mark.exists()
