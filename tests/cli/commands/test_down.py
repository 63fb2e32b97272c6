"""`sluice down`. tests/local/test_cloud_process.py stops a running local cloud."""

import pytest

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
