"""`sluice down`. tests/local/test_processes.py stops a running local cloud."""

from pathlib import Path

import pytest

from cli.lib.local_cloud import alone
from cli.main import main


def test_without_a_local_cloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a running local cloud, the command says so and succeeds.

    It removes containers that were left behind.
    """
    monkeypatch.setattr("local.cloud.LocalCloud.find", lambda _folder: None)
    monkeypatch.setattr("cli.lib.local_cloud.LocalStack.forget", lambda: None)
    monkeypatch.setattr("cli.lib.local_cloud.sweep", lambda _folder: 2)
    assert main(["down"]) == 0
    assert capsys.readouterr().out == (
        "No local cloud is running.\nRemoved what it had left behind: 2 containers.\n"
    )


def test_one_that_is_about_to_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """While a `sluice up` starts its local cloud, the command fails and says what to do."""
    monkeypatch.setattr("cli.lib.local_cloud.LOCAL", tmp_path)
    with alone(tmp_path):
        assert main(["down"]) == 1
    assert "Press Ctrl-C there" in " ".join(capsys.readouterr().err.split())
    assert main(["down"]) == 0


def test_what_was_kept_is_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """`--reset` says whether a stopped local cloud had left keys and usage."""
    monkeypatch.setattr("cli.lib.local_cloud.LOCAL", tmp_path)
    monkeypatch.setattr("cli.lib.local_cloud.LocalStack.forget", lambda: None)
    (tmp_path / "state.json").write_text("{}")
    assert main(["down", "--reset"]) == main(["down", "--reset"]) == 0
    assert [line for line in capsys.readouterr().out.splitlines() if "running" not in line] == [
        "Its keys and usage are forgotten.",
        "Nothing was kept.",
    ]
    assert list(tmp_path.glob("state*")) == []
