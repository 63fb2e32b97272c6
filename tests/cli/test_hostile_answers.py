"""Texts of a hostile admin API do not control the terminal."""

import csv
import io

import pytest

from cli.commands import audit, keys, usage
from cli.main import main
from tests.support.hostile_admin import KEY, HostileAdmin


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the commands call the hostile API."""
    for module in (audit, keys, usage):
        monkeypatch.setattr(module, "admin", lambda *_: HostileAdmin())


COMMANDS = [
    ("keys list", 0),
    ("keys list --json", 0),
    (f"keys show {KEY}", 0),
    (f"keys disable {KEY}", 0),
    (f"keys revoke {KEY}", 0),
    ("usage --by day,model", 0),
    ("usage --by key,model --json", 0),
    ("usage --by model --csv", 0),
    ("usage request req_1", 0),
    ("audit", 0),
    ("audit --csv", 0),
    ("audit --json", 0),
    ("usage rebuild 2026-11-20 2026-11-21", 1),
]


@pytest.mark.parametrize(("line", "status"), COMMANDS)
def test_no_text_of_a_server_steers_the_terminal(
    line: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tables, CSV, JSON and errors have no control characters from the server.

    The command's own output has only line ends.
    """
    assert main(line.split()) == status
    out, err = capsys.readouterr()
    printed = out + err
    assert not [it for it in printed if it != "\n" and not it.isprintable() and it != "\u00a0"]
    assert "\u202e" not in printed
    assert "[2J" in printed  # the text is readable


def test_csv_is_not_computed(capsys: pytest.CaptureFixture[str]) -> None:
    """A model's name that is a formula is plain text in a cell of the CSV."""
    assert main(["usage", "--by", "model", "--csv"]) == 0
    head, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert len(head) == len(row)
    assert row[0].startswith("'=1+1")
