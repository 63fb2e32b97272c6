"""What the command prints of an admin API whose every text is hostile."""

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest

from cli.commands import audit, keys, usage
from cli.lib.project import CommandError
from cli.main import main

HOSTILE = "=1+1\x1b[2J\x9b31m\r\n\u202e[red]"
KEY = "abcdefghijkl"
LIMITS = ("requests_per_minute", "tokens_per_minute", "concurrent_streams", "tokens_per_day", "cost_per_day")
ROW = {
    **dict.fromkeys(("requests", "prompt_tokens", "completion_tokens", "recovered", "open"), 1),
    "outcomes": {},
    "day": "2026-11-21",
    "model": HOSTILE,
    "key": KEY,
    "cost": "0.5",
}
FACTS = {
    "id": KEY,
    "prefix": f"sk-{KEY}",
    "name": HOSTILE,
    "owner": HOSTILE,
    "status": "active",
    "models": [HOSTILE],
    "networks": [HOSTILE],
    "limits": dict.fromkeys(LIMITS),
    "in_flight": 0,
    "totals": {"requests": 1, "prompt_tokens": 2, "completion_tokens": 3, "cost": "0.5"},
    **dict.fromkeys(("created_at", "last_used_at", "expires_at", "old_secret_expires_at")),
}


TEXTS = ("action", "actor", "address", "outcome", "code", "invocation", "id")
ENTRY = {
    **dict.fromkeys(TEXTS, HOSTILE),
    "at": 1.0,
    "key": KEY,
    "attempts": None,
    "asked": {HOSTILE: HOSTILE},
    "before": {},
    "after": {},
}
LISTS: dict[str, list[dict[str, Any]]] = {
    "/usage": [ROW],
    "/keys": [FACTS],
    "/audit": [ENTRY, {**ENTRY, "code": None}],
}


class Hostile:
    """An admin API of which every text is what an attacker could have put there."""

    def __call__(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        """Answer, or refuse what it does not know."""
        if path.endswith("/budget"):
            return {}
        if path.startswith("/keys/"):
            return {**FACTS, "cancelled": 1}
        if path.startswith("/requests/"):
            return {"object": "request", "id": HOSTILE, "model": HOSTILE}
        raise CommandError(HOSTILE)

    def pages(self, path: str, **query: object) -> Iterator[dict[str, Any]]:
        """List one thing."""
        return iter(LISTS[path])


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the commands ask it."""
    for module in (audit, keys, usage):
        monkeypatch.setattr(module, "admin", lambda _: Hostile())


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
def test_no_text_of_a_server_steers_the_terminal(line: str, status: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Tables, CSV, JSON and errors have no control character but line ends, and none that came from the server."""
    assert main(line.split()) == status
    out, err = capsys.readouterr()
    printed = out + err
    assert not [it for it in printed if it != "\n" and not it.isprintable() and it != "\u00a0"]
    assert "\u202e" not in printed
    assert "[2J" in printed  # it is there to be read


def test_csv_is_not_computed(capsys: pytest.CaptureFixture[str]) -> None:
    """A model that is called like a formula is text in CSV, in one cell."""
    assert main(["usage", "--by", "model", "--csv"]) == 0
    head, row = csv.reader(io.StringIO(capsys.readouterr().out))
    assert len(head) == len(row)
    assert row[0].startswith("'=1+1")
