"""`sluice verify`: which checks run, what an error of one is, and the exit status.

tests/e2e/test_verify.py runs the checks themselves.
"""

import argparse
import threading
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from cli.commands import verify
from cli.commands.verify import report, runner
from cli.commands.verify.registry import (
    WAVES,
    Check,
    Outcome,
    Wave,
    all_checks,
    decided,
    proven,
    unknown,
)
from cli.commands.verify.runner import Result
from cli.commands.verify.target import NoResponse, Target
from cli.lib.project import CommandError


def target(stage: str = "dev", engine: str = "llama_cpp") -> Target:
    """Return a stack of a stage."""
    return cast("Target", SimpleNamespace(stage=stage, engine=engine, stack=f"sluice-{stage}"))


def check(
    run: Callable[[Target], Outcome], wave: Wave = Wave.TRAFFIC, *, local: bool = False
) -> Check:
    """Return a check."""
    return Check("one", "row", "how", wave, run, 40, 0.25, local)


def raising(error: Exception) -> Callable[[Target], Outcome]:
    """Return a check's work that fails."""

    def run(_: Target) -> Outcome:
        raise error

    return run


def verdict(one: Check, on: Target | None = None) -> str:
    """Return what a run says of a check."""
    [result] = runner.run(on or target(), [one])
    return result.outcome.verdict


def test_the_checks_have_ids_of_their_own() -> None:
    """Each check has an id and a row that no other has, and texts that fit a table."""
    checks = all_checks()
    assert len({one.id for one in checks}) == len({one.row for one in checks}) == len(checks)
    assert not [one.id for one in checks if "|" in one.row + one.how or "\n" in one.row + one.how]
    assert {one.wave for one in checks} == {*WAVES}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (NoResponse("reset"), "refuted"),
        (KeyError("choices"), "refuted"),
        (ClientError({"Error": {"Code": "AccessDenied"}}, "DescribeEndpoint"), "unknown"),
        (CommandError("The admin API answered 503."), "unknown"),
        (ConnectionRefusedError(), "unknown"),
    ],
)
def test_an_error_is_a_verdict(error: Exception, expected: str) -> None:
    """A response that is missing or has another form refutes a row.

    A call of AWS that was refused leaves it open, and other checks still run.
    """
    results = runner.run(target(), [check(raising(error)), check(lambda _: proven("seen"))])
    assert results[0].outcome.verdict in {expected, "proven"}
    assert verdict(check(raising(error))) == expected


def test_what_the_local_cloud_cannot_tell_is_not_asked() -> None:
    """A row in which the local cloud does not take AWS's part needs AWS. Its check does not run."""
    asked = check(raising(AssertionError()))
    assert verdict(asked, target("local")) == "needs AWS"
    assert verdict(check(lambda _: proven("seen"), local=True), target("local")) == "proven"


def test_scripts_are_for_the_scripted_engine() -> None:
    """A check that tells the engine what to do runs with the scripted engine only."""
    one = check(lambda _: proven("seen"), Wave.SCRIPTED)
    assert verdict(one) == "not deployed"
    assert verdict(one, target(engine="scripted")) == "proven"


def test_one_that_is_wrong_refutes() -> None:
    """Anything wrong refutes a row, and is the evidence."""
    assert decided([], "seen") == proven("seen")
    assert decided(["a", "b"], "seen") == Outcome("refuted", "a; b")


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (["proven", "needs AWS", "not deployed"], 0),
        (["proven", "unknown"], 2),
        (["unknown", "refuted", "proven"], 1),
    ],
)
def test_the_exit_status(verdicts: list[Any], expected: int) -> None:
    """The status is 1 for a refuted row, 2 for an open one, and 0 otherwise."""
    one = check(lambda _: unknown(""))
    results = [Result(one, Outcome(name, ""), 0) for name in verdicts]
    assert report.status(results) == expected


def test_what_changes_the_deployment_is_asked_for() -> None:
    """Destructive checks and those of a GPU run on request only."""
    plain = {one.wave for one in report.chosen(None, destructive=False, gpu=False)}
    assert plain == {*Wave} - {Wave.DESTRUCTIVE, Wave.GPU}
    every = report.chosen(None, destructive=True, gpu=True)
    assert every == [*all_checks()]
    [one] = report.chosen(["meter"], destructive=False, gpu=False)
    assert one.id == "meter"
    with pytest.raises(CommandError, match="rotation runs with --destructive only"):
        report.chosen(["rotation"], destructive=False, gpu=True)
    with pytest.raises(CommandError, match=r"no check 'metre'\. Did you mean meter\?"):
        report.chosen(["metre"], destructive=True, gpu=True)


def test_a_run_that_is_interrupted_waits_for_nothing() -> None:
    """Ctrl-C ends a run at once, so that its keys are deleted. Checks that wait do not begin."""
    release = threading.Event()

    def waits(_: Target) -> Outcome:
        release.wait()
        return proven("late")

    def interrupted(_: Result) -> None:
        raise KeyboardInterrupt

    waiting = [replace(check(waits), id=str(number)) for number in range(runner.AT_ONCE + 1)]
    try:
        with pytest.raises(KeyboardInterrupt):
            runner.run(target(), [check(lambda _: proven("seen")), *waiting], interrupted)
    finally:
        release.set()


def test_the_plan_has_time_and_cost() -> None:
    """A wave takes as long as its longest check, or its share of all; costs add up."""
    five = [check(lambda _: proven("")) for _ in range(5)]
    [(wave, count, minutes, usd)] = runner.plan(five)
    assert (wave, count, usd) == (Wave.TRAFFIC, 5, 1.25)
    assert minutes == pytest.approx(50 / 60)
    [(_, _, alone, _)] = runner.plan([check(lambda _: proven(""), Wave.DESTRUCTIVE)] * 2)
    assert alone == pytest.approx(80 / 60)


def test_nothing_is_sent_before_a_yes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On AWS the plan is printed first. Without a terminal and `--yes` nothing is done."""
    monkeypatch.setattr(Target, "of", lambda *_: target())
    parser = argparse.ArgumentParser()
    verify.add(parser)
    for options in (["--json"], []):
        args = parser.parse_args(["--stage", "dev", *options])
        with pytest.raises(CommandError, match="pass --yes"):
            args.run(args)
    said = capsys.readouterr().out
    assert "wave 1" in said
    assert "USD, beside the deployment's own hours" in said


def test_the_list_needs_no_deployment(capsys: pytest.CaptureFixture[str]) -> None:
    """`--list` prints each check with its wave."""
    parser = argparse.ArgumentParser()
    verify.add(parser)
    args = parser.parse_args(["--list", "--destructive", "--gpu"])
    args.run(args)
    said = capsys.readouterr().out
    assert all(one.id in said for one in all_checks())
