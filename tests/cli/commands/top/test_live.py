"""The screen of `sluice top`. tests/e2e/test_terminal.py has it over a deployment."""

import argparse
import io
import json
from typing import Any

import pytest
from rich.console import Console

from cli.commands import top
from cli.commands.top import live
from cli.commands.top.live import Source, screen, sparkline
from cli.lib.admin_api import KeyNotFoundError
from cli.lib.project import CommandError
from cli.main import main

HOSTILE = "\x1b[2J\u202e"


class Admin:
    """An admin API with a running service, and keys with hostile names."""

    stage = "dev"

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __call__(self, method: str, path: str) -> dict[str, Any]:
        self.calls.append(path)
        if path == "/stop":
            return {"running": 4, "stopped_at": None}
        if path == "/keys/gone":
            raise KeyNotFoundError("There is no such key.")
        if path == "/keys/lost":
            raise CommandError("The admin API does not answer.")
        return {"name": HOSTILE}


class Logs:
    """A log group with these events, which notes what is asked for."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events
        self.asked: list[dict[str, Any]] = []

    def get_paginator(self, name: str) -> "Logs":
        assert name == "filter_log_events"
        return self

    def paginate(self, **asked: Any) -> list[dict[str, Any]]:
        self.asked.append(asked)
        return [{"events": self.events}]


def line(number: int, at: float, **fields: Any) -> dict[str, Any]:
    """Return an event of the log."""
    found = {
        "event": "request", "request_id": f"r{number}", "key": "k", "model": HOSTILE,
        "outcome": "complete", "prompt_tokens": 2, "completion_tokens": 5, "ttft_ms": 100,
        "duration_ms": 500, "cost": 7_000_000, **fields,
    }  # fmt: skip
    return {"message": json.dumps(found), "timestamp": int(at * 1000)}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time of the module, as a list of one element."""
    now = [1000.0]
    monkeypatch.setattr("cli.commands.top.live.time.time", lambda: now[0])
    return now


def source(events: list[dict[str, Any]]) -> Source:
    """Return the source of a stand-in, with a window of a minute."""
    return Source(Admin(), Logs(events), "group", 60)  # type: ignore[arg-type]


def test_a_look(clock: list[float]) -> None:
    """A look has what runs, what ended, and the names of keys, which are asked for once."""
    found = source([line(1, 990), line(2, 995, key="gone", outcome="cut")])
    figures = found.figures()
    assert (figures["streams"], figures["requests"], figures["stage"]) == (4, 2, "dev")
    assert {row["key"]: row["name"] for row in figures["keys"]} == {
        "k": HOSTILE, "gone": "(deleted)",
    }  # fmt: skip
    found.figures()
    admin: Any = found._admin
    assert admin.calls.count("/keys/k") == admin.calls.count("/keys/gone") == 1


def test_a_key_is_not_called_deleted_without_an_answer(clock: list[float]) -> None:
    """Where the admin API does not answer, the look ends with its error."""
    with pytest.raises(CommandError, match="does not answer"):
        source([line(1, 990, key="lost")]).figures()


def test_a_later_look_reads_what_is_new(clock: list[float]) -> None:
    """The first look reads the window; later ones what came since, with some overlap."""
    found = source([line(1, 990)])
    found.figures()
    clock[0] += 10
    assert found.figures()["requests"] == 1
    logs: Any = found._logs
    assert [it["startTime"] for it in logs.asked] == [940_000, 970_000]


def test_the_screen_fits_80_columns(clock: list[float]) -> None:
    """No text of a server steers the terminal, and no line is over 80 columns wide."""
    events = [line(it, 990, key=f"k{it}", outcome=HOSTILE) for it in range(7)]
    into = io.StringIO()
    console = Console(file=into, width=80, force_terminal=False)
    console.print(screen(source(events).figures()))
    printed = into.getvalue()
    assert max(map(len, printed.splitlines())) <= 80
    assert not [it for it in printed if it != "\n" and not it.isprintable()]
    assert "\u202e" not in printed
    assert "and 2 more" in printed


@pytest.mark.parametrize(("rows", "blank"), [(24, False), (40, True)])
def test_a_small_screen_has_the_keys_too(clock: list[float], rows: int, *, blank: bool) -> None:
    """24 rows have every table: short ones are beside each other, and lines are left out."""
    endings: tuple[dict[str, Any], ...] = (
        {"outcome": "complete", "EndedComplete": 1},
        {"outcome": "cancelled", "EndedCancelled": 1},
    )
    events = [line(it, 990, key=f"k{it}", **endings[it % 2]) for it in range(7)]
    into = io.StringIO()
    small = Console(file=into, width=80, height=rows, force_terminal=False)
    small.print(screen(source(events).figures(), small))
    lines = [it.rstrip() for it in into.getvalue().rstrip().splitlines()]
    assert len(lines) <= rows
    assert ("" in lines) is blank
    assert any(it.startswith("ending") and "cause" in it for it in lines)
    assert lines[-1] == "and 2 more"


def test_nothing_to_show(clock: list[float]) -> None:
    """Without requests, the screen has what runs, and no empty tables."""
    into = io.StringIO()
    Console(file=into, width=80).print(screen(source([]).figures()))
    assert "streams running  4" in into.getvalue()
    assert "first token" not in into.getvalue()


def test_it_needs_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where the figures would go to a pipe or a file, the error names what works there."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr(live, "Source", None)
    assert main(["top"]) == 1
    assert "--once or --json" in capsys.readouterr().err


def test_ctrl_c_leaves(
    monkeypatch: pytest.MonkeyPatch, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Looks follow each other until Ctrl-C, whose status is that of every command."""
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("cli.commands.top.live.time.sleep", sleep)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setattr(Source, "of", lambda *_: source([line(1, 990)]))
    assert main(["top", "--stage", "dev"]) == 130
    assert looks == [10, 10, 10]
    capsys.readouterr()


@pytest.mark.parametrize("text", ["9s", "2d", "x"])
def test_wrong_windows(text: str) -> None:
    """A window is from ten seconds to a day."""
    with pytest.raises(argparse.ArgumentTypeError):
        top.period(text)


def test_a_sparkline() -> None:
    """Each amount has a level; nothing has a space, and a window of nothing has no line."""
    assert sparkline([0, 1, 4, 8]) == " ▁▄█"
    assert sparkline([0, 0]) == ""
