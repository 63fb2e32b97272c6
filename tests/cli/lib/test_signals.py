"""Signals that end a command."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli.commands import up
from cli.lib import local_cloud
from cli.lib.signals import Ended, ending
from cli.main import main

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
