"""The command line itself."""

from pathlib import Path
from typing import Any

import pytest

from cli.commands.up import alone
from cli.lib.project import CommandError
from cli.main import main


def test_without_a_command_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`sluice` alone shows its commands and is no failure."""
    assert main([]) == 0
    assert "endpoint" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the command and its version."""
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("sluice 0.")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("keys create --expires 2020-01-01", "argument --expires: '2020-01-01' is not in the future"),
        ("keys create --expires soon", "argument --expires: 'soon' is no moment"),
    ],
)
def test_values_are_refused_in_the_options_words(line: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A value that makes no sense is refused before anything is asked, naming the option."""
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_two_forms_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """`--csv` and `--json` are not both obeyed, so both are refused."""
    assert main(["usage", "--csv", "--json"]) == 1
    assert "exclude each other" in capsys.readouterr().err


def test_a_second_up_is_refused(tmp_path: Path) -> None:
    """While one `sluice up` deploys, another one is refused in words; afterwards it is not."""
    with alone(tmp_path), pytest.raises(CommandError, match="Another `sluice up` is at work"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_names_of_the_edge_reach_the_local_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each `--host` of `sluice up` is one of `python -m local`."""
    given: dict[str, Any] = {}
    monkeypatch.setattr("cli.commands.up.up", lambda **options: given.update(options))
    assert main(["up", "--host", "host.docker.internal", "--host", "[fd00::1]"]) == 0
    assert given["options"] == ["--host=host.docker.internal", "--host=[fd00::1]"]
