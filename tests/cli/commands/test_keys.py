"""`sluice keys`: what leaves the machine, and what is told of keys that are refused anyway."""

import argparse
import io
import json
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest

from cli.commands import keys
from cli.lib import terminal
from cli.main import main
from lambda_fn.control.models_in import MAX_GRACE
from tests.support.command_lines import leaves
from tests.support.hostile_admin import FACTS

KEY = "sk-abcdefghijkl-" + "Aa0_-" * 8 + "xyz"


@pytest.fixture
def calls_made(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Return the list of calls of the admin API."""
    calls: list[tuple[Any, ...]] = []

    def api(*call: Any, **query: Any) -> dict[str, Any]:
        calls.append((*call, query))
        return {**FACTS, "status": "revoked", "cancelled": 3}

    monkeypatch.setattr(keys, "admin", lambda *_: api)
    return calls


@pytest.mark.parametrize("text", [KEY, KEY[3:15], KEY[:15], f" '{KEY}'\n", f'"{KEY}"', "-"])
def test_only_the_id_is_sent(
    calls_made: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    """The command takes a whole key, in quotes or from standard input, in place of its id.

    It neither sends nor prints the secret.
    """
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))
    assert main(["keys", "revoke", text]) == 0
    assert calls_made == [("POST", f"/keys/{KEY[3:15]}/revoke", {})]
    printed = "".join(capsys.readouterr())
    assert "3 running" in printed
    assert KEY[16:] not in printed


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (
            {"requests_per_minute": 0, "cost_per_day": "0.00"},
            ["requests-per-minute", "cost-per-day"],
        ),
        ({"requests_per_minute": 1, "cost_per_day": "0.01", "tokens_per_day": None}, []),
    ],
)
@pytest.mark.parametrize("command", ["create", "update abcdefghijkl --requests-per-minute 0"])
def test_a_limit_of_nothing_is_told(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    limits: dict[str, Any],
    named: list[str],
) -> None:
    """A key that can send nothing is said to be one, in case 0 was meant as no limit."""
    key = {**FACTS, "secret": KEY, "limits": {"concurrent_streams": 200, **limits}}
    monkeypatch.setattr(keys, "admin", lambda *_: lambda *_, **__: key)
    assert main(["keys", *command.split()]) == 0
    error = " ".join(capsys.readouterr().err.split())
    assert re.findall(r"because --([a-z-]+) is 0", error) == named
    assert main(["keys", *command.split(), "--json"]) == 0
    assert "refused" not in capsys.readouterr().err


ROTATE, ENABLE = "`sluice keys rotate abcdefghijkl`", "`sluice keys enable abcdefghijkl`"
EXPIRES = "`sluice keys update abcdefghijkl --expires 30d`"


@pytest.mark.parametrize(
    ("command", "key", "exit_status", "said"),
    [
        ("enable", {"status": "active"}, 0, []),
        ("enable", {"status": "revoked"}, 1, ["no valid secret", ROTATE]),
        ("enable", {"status": "expired", "expires_at": 1}, 1, ["expired at 1970-01-01", EXPIRES]),
        ("disable", {"status": "disabled", "enabled": False}, 0, []),
        ("disable", {"status": "revoked", "enabled": False}, 0, [ROTATE, ENABLE]),
        ("update --name x", {"status": "active"}, 0, []),
        ("update --name x", {"status": "disabled", "enabled": False}, 0, []),
        ("update --name x", {"status": "revoked", "enabled": False}, 0, [ROTATE, ENABLE]),
        ("update --name x", {"status": "expired", "expires_at": 1}, 0, [EXPIRES]),
    ],
)
def test_a_change_that_leaves_a_key_refused_says_so(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    key: dict[str, Any],
    exit_status: int,
    said: list[str],
) -> None:
    """A key that was enabled and is refused nevertheless is a failure; other changes are done."""
    monkeypatch.setattr(keys, "admin", lambda *_: lambda *_, **__: {**FACTS, **key})
    name, *more = command.split()
    assert main(["keys", name, "abcdefghijkl", *more]) == exit_status
    error = " ".join(capsys.readouterr().err.split())
    assert [part for part in said if part not in error] == []
    assert said or not error
    assert main(["keys", name, "abcdefghijkl", *more, "--json"]) == exit_status
    assert json.loads(capsys.readouterr().out)["status"] == key["status"]


@pytest.mark.parametrize("text", [KEY + "x", KEY[:-1], "sk-nothing", "-"])
def test_text_that_is_not_a_key_is_not_printed(
    calls_made: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
) -> None:
    """A text that is not a key fails the command.

    It is not printed, for it may be most of a key.
    """
    monkeypatch.setattr("sys.stdin", io.StringIO(KEY + "x"))
    with pytest.raises(SystemExit) as caught:
        main(["keys", "revoke", text])
    assert caught.value.code == 2
    assert not calls_made
    assert KEY[16:-1] not in "".join(capsys.readouterr())


def test_the_time_since_the_last_use_stays_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a terminal that is a little too narrow, other columns wrap before that does."""
    totals = {"requests": 6, "prompt_tokens": 106, "completion_tokens": 243, "cost": "0"}
    key = {"id": KEY[3:15], "name": "local", "owner": None, "status": "active", "networks": None}
    listed = [{**key, "created_at": 1, "last_used_at": time.time() - 92, "totals": totals}]
    monkeypatch.setattr(keys, "admin", lambda *_: SimpleNamespace(pages=lambda *_, **__: listed))
    monkeypatch.setattr(terminal, "console", terminal.Output(width=78, force_terminal=True))
    assert main(["keys", "list"]) == 0
    assert re.search(r"\d+s ago", capsys.readouterr().out)


def test_the_fields_of_a_key_are_named_by_options_that_exist() -> None:
    """A refusal of the API names the option that the user gave."""
    parser = argparse.ArgumentParser()
    keys.add(parser)
    assert set(keys._OPTIONS.values()) <= dict(leaves(parser))["create"]


def test_a_grace_over_the_apis_maximum(capsys: pytest.CaptureFixture[str]) -> None:
    """It is refused in the words of the command line, at the maximum that the API has."""
    assert keys._MAX_GRACE_S == MAX_GRACE
    with pytest.raises(SystemExit):
        main(["keys", "rotate", "abcdefghijkl", "--grace", "31d"])
    assert "Argument --grace: '31d' is over 30d." in capsys.readouterr().err
