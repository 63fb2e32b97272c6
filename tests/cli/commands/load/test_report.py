"""The report of a run, printed."""

from collections import Counter

import pytest

from cli.commands.load.ledger import Checked
from cli.commands.load.report import milliseconds, show_report
from tests.support.load_runs import every_ending, record, report_of, run_of


def test_no_text_of_a_server_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Codes, models and addresses are printed with their control characters as escapes."""
    checked = Checked("request", matrix=Counter({("complete", "\x1b[2J"): 1}))
    checked.disagreeing.append(("\x1b[2J", "\u202e"))
    show_report(report_of(every_ending(), checked=checked))
    printed = capsys.readouterr().out
    assert not [it for it in printed if it != "\n" and not it.isprintable()]
    assert "\u202e" not in printed


def test_a_run_that_ctrl_c_ended(capsys: pytest.CaptureFixture[str]) -> None:
    """It says how many requests of the whole plan were sent; shares are of those."""
    run = run_of([record(0), record(1, "dropped")], stopped=True)
    show_report(report_of(run, planned=60))
    printed = " ".join(capsys.readouterr().out.split())
    assert "2 of 60 requests sent" in printed
    assert "at most 3 streams at once; Ctrl-C ended the run" in printed
    assert "complete 1 50.0%" in printed


def test_every_ending_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    """Each ending that occurred has a row; others have none."""
    show_report(report_of(run_of([record(0), record(1, "silent", "no_end_marker")])))
    printed = capsys.readouterr().out
    assert "silent" in printed
    assert "no_end_marker" in printed
    assert "unreachable" not in printed


@pytest.mark.parametrize(
    ("checked", "words"),
    [
        (Checked("nothing", "no GET /usage"), "not compared with a ledger: no GET /usage"),
        (Checked("request", matrix=Counter({("cut", "complete"): 2})), "cut = 2 complete"),
        (Checked("sums", sums={"cut": {"client": 1, "ledger": 2}}), "cut 1 here, 2 there"),
        (Checked("request", open=4), "4 are open"),
        (
            Checked("request", left=2, sums={"complete": {"client": 1, "ledger": 2}}),
            "2 requests were left without an answer, so their ids are not known; the ledger has 1",
        ),
        (
            Checked("request", left=1, sums={"cut": {"client": 1, "ledger": 3}}),
            "Sums differ: cut 1 here, 3 there. 1 request was left without an answer, so its id",
        ),
    ],
)
def test_what_the_ledger_says(
    checked: Checked, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The comparison is printed, and so is why there is none."""
    show_report(report_of(run_of([record(0)]), checked=checked))
    assert words in " ".join(capsys.readouterr().out.split())


def test_a_bottleneck_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose client was the bottleneck says so, and what to do."""
    show_report(report_of(run_of([record(0, "unsent", sent=None)])))
    printed = " ".join(capsys.readouterr().out.split())
    assert "may have been the bottleneck: 1 request could not be sent" in printed
    assert "lower --rate" in printed


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4249, "0.42 ms"), (12.34, "12.3 ms"), (431.4, "431 ms"), (12_340.0, "12.3 s")],
)
def test_times(value: float, text: str) -> None:
    """A time has three figures, and seconds from ten of them on."""
    assert milliseconds(value) == text
