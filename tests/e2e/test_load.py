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
        words = f"load --stack-name {scripted.name} --json --good 0 --settle 20s {line}"
        status = main(words.split())
        out, err = capsys.readouterr()
        assert status == 0, err
        report: dict[str, Any] = json.loads(out)
        return report

    return run


@pytest.mark.parametrize(
    ("kind", "after", "ending", "outcome"),
    [
        ("stream-cut", 400, "error", "cut"),
        ("container-error", 0, "refused", "failed"),
    ],
)
def test_endings_are_those_of_the_ledger(
    load: Callable[[str], dict[str, Any]],
    cloud: LocalCloud,
    scripted: Deployment,
    kind: str,
    after: int,
    ending: str,
    outcome: str,
) -> None:
    """Under a fault, every request is in the ledger with the outcome that its ending means."""
    # a cancellation is a request to the endpoint, too, and has no messages
    where = {"scope": f"{scripted.name}-*", "containing": '"messages"'}
    with fault(cloud, kind=kind, after=after, count=3, **where):
        report = load("--rate 4 --duration 3s --arrivals constant --max-tokens 24")
    endings = {name: count for name, count in report["endings"].items() if count}
    assert endings == {"complete": 9, ending: 3}
    ledger = report["ledger"]
    assert (ledger["by"], ledger["agrees"], ledger["open"]) == ("request", True, 0)
    assert {(it["ending"], it["outcome"]): it["count"] for it in ledger["matrix"]} == {
        ("complete", "complete"): 9,
        (ending, outcome): 3,
    }


@pytest.mark.parametrize("form", ["completions", "messages", "responses", "text"])
def test_every_form(load: Callable[[str], dict[str, Any]], form: str) -> None:
    """Answers of each form are complete, and the ledger agrees."""
    report = load(f"--form {form} --rate 5 --duration 1s --arrivals constant --max-tokens 8")
    assert report["endings"]["complete"] == 5
    assert report["ledger"]["agrees"] is True


def test_a_lost_function_is_no_success(
    load: Callable[[str], dict[str, Any]], cloud: LocalCloud, scripted: Deployment, tmp_path: Path
) -> None:
    """A response whose function was killed is not good, and its request is open in the ledger."""
    where = {"scope": f"{scripted.name}-*StreamFunction*"}
    prompts = tmp_path / "prompts.txt"  # a stream that is far from its end when 1,500 bytes are out
    prompts.write_text(json.dumps({"repeat": " x", "count": 100, "rate": 20}))
    with fault(cloud, kind="function-killed-in-response", after=1500, count=1, **where):
        report = load(
            "--rate 1 --duration 1s --arrivals constant --settle 1s --max-tokens 100 "
            f"--prompts {prompts}"
        )
    assert report["endings"]["complete"] == report["goodput"]["good"] == 0
    assert report["ledger"]["open"] == 1


def test_readers_and_droppers(load: Callable[[str], dict[str, Any]]) -> None:
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


@pytest.mark.parametrize("form", ["chat", "messages", "responses", "text"])
def test_resumers(load: Callable[[str], dict[str, Any]], form: str, tmp_path: Path) -> None:
    """Who leaves and resumes has a whole answer, and the ledger has it once."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(json.dumps({"repeat": " x", "count": 24, "rate": 20}))
    report = load(
        f"--form {form} --rate 4 --duration 2s --arrivals constant --max-tokens 24 "
        f"--resumers 100% --seed 3 --prompts {prompts}"
    )
    assert {name: count for name, count in report["endings"].items() if count} == {"complete": 8}
    assert report["requests"]["resumed"] > 4
    assert report["ledger"]["agrees"]
