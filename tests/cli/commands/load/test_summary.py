"""The report of a run as JSON."""

import json
from typing import Any

import pytest

from cli.commands.load.endings import NAMES
from cli.commands.load.ledger import Checked
from cli.commands.load.summary import Objectives, intervals
from tests.support.load_runs import every_ending, record, report_of, run_of


def test_a_report_is_json_and_counts_every_request() -> None:
    """The report can be written, and its endings add up to the planned requests."""
    run = every_ending()
    report = report_of(run)
    json.dumps(report, allow_nan=False)
    assert list(report["endings"]) == list(NAMES)
    assert sum(report["endings"].values()) == report["requests"]["planned"] == len(NAMES)


def test_a_run_without_requests_has_a_report() -> None:
    """Nothing is divided by zero, and nothing is good."""
    report = report_of(run_of([], most_open=0))
    assert (report["goodput"]["met"], report["ttft"], report["intervals"]) == (False, None, [])


@pytest.mark.parametrize(
    ("bounds", "good"),
    [
        ({}, True),
        ({"ttft": 0.5}, True),
        ({"ttft": 0.49}, False),
        ({"itl": 0.25}, True),
        ({"itl": 0.24}, False),
        ({"duration": 2.0}, True),
        ({"duration": 1.9}, False),
    ],
)
def test_a_good_request(bounds: dict[str, float], good: bool) -> None:
    """A good request is complete and within each bound, which may be reached."""
    assert Objectives(0.95, **bounds).good(record(0)) is good
    assert not Objectives(0.95, **bounds).good(record(0, "silent"))


def test_the_latency_of_a_slow_reader_is_its_own() -> None:
    """A slow reader's request is good if it is complete, however long it took."""
    assert Objectives(0.95, ttft=0.1).good(record(0, reader="slow"))


def test_clients_that_left_on_purpose_do_not_count() -> None:
    """Droppers are neither good nor bad."""
    report = report_of(run_of([record(0), record(1, "dropped")]))
    assert (report["goodput"]["good"], report["goodput"]["of"]) == (1, 1)
    assert report["goodput"]["met"]


@pytest.mark.parametrize(("share", "met"), [(0.5, True), (0.51, False)])
def test_the_share_that_is_wanted(share: float, met: bool) -> None:
    """The objective is met where at least the share of requests was good."""
    report = report_of(run_of([record(0), record(1, "cut")]), objectives=Objectives(share))
    assert report["goodput"]["met"] is met


def _late(run: Any) -> None:
    for _ in range(100):
        run.loop.add(0.03)


def _behind(run: Any) -> None:
    for _ in range(100):
        run.lag.add(0.06)


def _busy(run: Any) -> None:
    run.cpu = 11.5


@pytest.mark.parametrize(
    ("spoil", "words"),
    [(_late, "event loop"), (_behind, "sent 60 ms late"), (_busy, "96% of a core")],
)
def test_a_client_that_was_the_bottleneck_says_so(spoil: Any, words: str) -> None:
    """A late event loop, late requests and a busy core are each a reason not to trust a run."""
    run = run_of([record(0)])
    assert report_of(run)["client"]["bottleneck"] == []
    spoil(run)
    [reason] = report_of(run)["client"]["bottleneck"]
    assert words in reason


def test_unsent_requests_are_the_clients_limit() -> None:
    """Requests that were not sent make the client the bottleneck."""
    [reason] = report_of(run_of([record(0, "unsent", sent=None)]))["client"]["bottleneck"]
    assert "--max-open" in reason


def test_examples_lead_to_the_log() -> None:
    """The first three requests of each kind of ending have their ids; complete ones do not."""
    records = [record(at, "cut") for at in range(5)] + [record(5), record(6, "error", "c")]
    examples = report_of(run_of(records))["examples"]
    assert [(it["ending"], it["request_id"], it["second"]) for it in examples] == [
        ("cut", "req_0", 0.0), ("cut", "req_1", 1.0), ("cut", "req_2", 2.0),
        ("error", "req_6", 6.0),
    ]  # fmt: skip


def test_another_code_each_time_is_bounded() -> None:
    """A server that sends another code each time does not make the report as long as the run."""
    report = report_of(run_of([record(at, "error", f"code {at}") for at in range(500)]))
    assert (len(report["codes"]), len(report["examples"])) == (100, 100)


def test_intervals_have_what_became_of_their_requests() -> None:
    """A request is in the interval of its planned moment; `open` is what runs at its end."""
    rows = intervals(run_of([record(0), record(0, "cut"), record(3)]))
    assert [row["endings"] for row in rows] == [
        {"complete": 1, "cut": 1}, {}, {}, {"complete": 1}, {}, {},
    ]  # fmt: skip
    assert [row["open"] for row in rows] == [2, 2, 0, 1, 1, 0]
    assert rows[0]["ttft_p50"] == pytest.approx(500, rel=0.01)
    assert rows[1]["ttft_p50"] is None


def test_a_long_run_has_as_many_intervals() -> None:
    """A run of an hour has 121 intervals at most."""
    assert len(intervals(run_of([record(0), record(3600)]))) <= 121


def test_disagreements_are_counted_and_the_first_are_shown() -> None:
    """All differences with the ledger are counted, and twenty of them are listed."""
    checked = Checked("request", disagreeing=[(f"req_{it}", "x") for it in range(30)])
    found = report_of(run_of([record(0)]), checked=checked)["ledger"]
    assert (found["agrees"], found["disagreeing"], len(found["disagreements"])) == (False, 30, 20)
