"""`sluice stop`: command lines that it refuses before it calls the admin API."""

import pytest

from cli.commands import stop
from cli.main import main


@pytest.mark.parametrize("line", ["--undo --status", "--undo --drain", "--status --reason Why"])
def test_options_that_exclude_each_other(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No option of two that contradict each other is silently ignored."""
    monkeypatch.setattr(stop, "admin", None)
    assert main(["stop", *line.split()]) == 2
    assert line.split()[0] in capsys.readouterr().err
