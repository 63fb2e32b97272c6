"""`sluice load` over the local cloud: under faults, its endings are those of the ledger."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.lib import admin_api, stack
from cli.main import main
from local.cloud import LocalCloud
from tests.support.deployments import Deployment
from tests.support.faults import fault

pytestmark = pytest.mark.e2e


@pytest.fixture
def load(
    cloud: LocalCloud,
    scripted: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[str], dict[str, Any]]:
    """Return a function that runs `sluice load` over the scripted engine's stack.

    It returns the report. How busy this machine is decides no test.
    """
    for module in (stack, admin_api):
        monkeypatch.setattr(module, "LOCAL", cloud.directory)
    for name in ("LOOP_MS", "LAG_MS", "CPU"):
        monkeypatch.setattr(f"cli.commands.load.summary.{name}", 1e9)

    def run(line: str) -> dict[str, Any]:
        words = f"load --stack-name {scripted.name} --json --good 0 --settle 60s {line}"
        status = main(words.split())
        out, err = capsys.readouterr()
        assert status == 0, err
        report: dict[str, Any] = json.loads(out)
        return report

    return run


def test_endings_are_those_of_the_ledger(
    load: Callable[[str], dict[str, Any]], cloud: LocalCloud, scripted: Deployment
) -> None:
    """Under faults, every request is in the ledger with the outcome that its ending means."""
    scope = f"{scripted.name}-*"
    with (
        fault(cloud, kind="stream-cut", scope=scope, after=400, count=3),
        fault(cloud, kind="container-error", scope=scope, count=2),
    ):
        report = load("--rate 4 --duration 5s --arrivals constant --max-tokens 24")
    endings = {name: count for name, count in report["endings"].items() if count}
    assert endings == {"complete": 15, "error": 3, "refused": 2}
    ledger = report["ledger"]
    assert (ledger["by"], ledger["agrees"], ledger["open"]) == ("request", True, 0)
    assert {(it["ending"], it["outcome"]): it["count"] for it in ledger["matrix"]} == {
        ("complete", "complete"): 15,
        ("error", "cut"): 3,
        ("refused", "failed"): 2,
    }


@pytest.mark.parametrize("form", ["completions", "messages", "text"])
def test_every_form(load: Callable[[str], dict[str, Any]], form: str) -> None:
    """Answers of each form are complete, and the ledger agrees."""
    report = load(f"--form {form} --rate 5 --duration 1s --arrivals constant --max-tokens 8")
    assert report["endings"]["complete"] == 5
    assert report["ledger"]["agrees"] is True


def test_a_silent_end_is_found(
    load: Callable[[str], dict[str, Any]], cloud: LocalCloud, scripted: Deployment
) -> None:
    """A response that is cut off and ended as if it were whole is no success."""
    with (
        fault(
            cloud,
            kind="function-killed-in-response",
            scope=f"{scripted.name}-*",
            after=1500,
            count=1,
        ),
        fault(cloud, kind="function-error-hidden", scope=f"{scripted.name}-*", count=1),
    ):
        report = load("--rate 1 --duration 1s --arrivals constant --settle 1s")
    assert report["endings"]["complete"] == 0
    assert report["goodput"]["good"] == 0


def test_readers_and_droppers(load: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    """Slow readers get whole answers, and what droppers leave is settled."""
    report = load(
        "--rate 10 --duration 2s --arrivals constant --max-tokens 12 "
        "--slow-readers 30% --slow-pace 4000 --droppers 30%"
    )
    endings = {name: count for name, count in report["endings"].items() if count}
    assert set(endings) == {"complete", "dropped"}
    assert endings["dropped"] <= report["requests"]["droppers"]
    assert report["requests"]["slow_readers"] > 0
    assert report["ledger"]["agrees"] is True
