"""`sluice load` from its command line to its report. tests/e2e/test_load.py has a deployment."""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cli.commands import load
from cli.commands.check.wire import Response, Server
from cli.commands.load import command
from cli.commands.load.command import counts, loopback
from cli.commands.load.generator import Run
from cli.commands.load.plan import Ask
from cli.lib.project import CommandError
from cli.main import main
from tests.support.load_runs import record, run_of
from tests.support.lying_api import LyingAPI, lying_api_beside


@pytest.fixture
def api() -> Iterator[LyingAPI]:
    """Return the running API whose streams lie."""
    with lying_api_beside() as found:
        yield found


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this client for fast enough, however busy the machine of the tests is."""
    monkeypatch.setattr("cli.commands.load.summary.LOOP_MS", 1e9)
    monkeypatch.setattr("cli.commands.load.summary.LAG_MS", 1e9)
    monkeypatch.setattr("cli.commands.load.summary.CPU", 1e9)


@pytest.fixture
def run(
    api: LyingAPI, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs `sluice load` with prompts for the API.

    It returns the exit status, the output and the errors.
    """

    def run(*prompts: str, line: str = "") -> tuple[int, str, str]:
        file = tmp_path / "prompts.txt"
        file.write_text("\n".join(prompts))
        words = f"load {api.url} --model m --key k --prompts {file} {line}"
        rate = f" --rate {10 * len(prompts)} --duration 100ms --arrivals constant"
        status = main((words + rate).split())
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_a_report(run: Callable[..., tuple[int, str, str]]) -> None:
    """The report has the endings, and why nothing was compared with a ledger."""
    status, out, err = run("whole", "by byte")
    assert (status, err) == (0, "")
    assert "2 of 2 requests sent" in out
    assert "complete         2  100.0%" in out
    assert "the API has no GET /usage" in " ".join(out.split())


def test_too_few_good_requests_fail(run: Callable[..., tuple[int, str, str]]) -> None:
    """Truncated streams are not good, and the status says so."""
    status, _, err = run("whole", "truncated")
    assert status == 1
    assert "50.0% of the requests were good" in err
    assert run("whole", "truncated", line="--good 50%")[0] == 0


def test_objectives_fail(run: Callable[..., tuple[int, str, str]]) -> None:
    """A first token that comes later than the objective is not good."""
    assert run("whole", line="--ttft 0.001ms")[0] == 1
    assert run("whole", line="--ttft 1h --itl 1h --within 1h")[0] == 0


def test_json(run: Callable[..., tuple[int, str, str]]) -> None:
    """With --json, the output is the report alone."""
    report = json.loads(run("whole", "error event", line="--json --good 0")[1])
    assert (report["object"], report["endings"]["complete"]) == ("load_report", 1)
    assert report["codes"] == [{"ending": "error", "code": "cut", "count": 1}]
    assert report["plan"]["prompts"] == "file"


def test_files(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """The page and AIPerf's form are written."""
    page, other = tmp_path / "a.html", tmp_path / "a.json"
    assert run("whole", line=f"--html {page} --aiperf {other}")[0] == 0
    assert page.read_text().startswith("<!doctype html>")
    assert json.loads(other.read_text())["request_count"]["avg"] == 1


def test_ctrl_c_leaves_a_report(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report of a run that Ctrl-C ended has the plan's requests, and the status is 130."""

    async def interrupted(*_: Any) -> Run:
        return run_of([record(0)], stopped=True)

    monkeypatch.setattr(command, "generate", interrupted)
    status, out, err = run("whole", "whole", "whole")
    assert (status, err) == (130, "")
    assert "1 of 3 requests sent" in out


def test_a_bottleneck_is_no_verdict(
    run: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose client was the bottleneck ends with status 2, whatever the figures are."""
    monkeypatch.setattr("cli.commands.load.summary.CPU", -1.0)
    with pytest.raises(SystemExit) as ended:
        run("whole")
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost", True),
        ("api.localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("example.com", False),
    ],
)
def test_this_machine(host: str, own: bool) -> None:
    """Only loopback is this machine."""
    assert loopback(host) is own


@pytest.mark.parametrize("allowed", ["", "--allow-host example.org", "--allow-host com"])
def test_another_host_needs_its_name(
    allowed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent to another host that --allow-host does not name."""
    monkeypatch.setattr(command, "generate", None)
    assert main(f"load https://example.com/v1 --model m {allowed}".split()) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--allow-host example.com" in said


@pytest.mark.parametrize(
    ("status", "answer", "address"),
    [
        (200, {"url": "wss://sockets.example/responses"}, "wss://sockets.example/responses"),
        (404, {"error": {}}, "ws://localhost:1/v1/responses"),
        (200, {"url": 5}, "ws://localhost:1/v1/responses"),
    ],
)
def test_the_address_of_the_sockets(
    monkeypatch: pytest.MonkeyPatch, status: int, answer: Any, address: str
) -> None:
    """An API names the address with a ticket; else it is the path that OpenAI has."""
    found = Response(status, {}, [(0.0, json.dumps(answer).encode())])
    monkeypatch.setattr(Server, "send", lambda *_: found)
    assert command._sockets(Server("http://localhost:1/v1", "k")) == address


@pytest.mark.parametrize("url", ["https://x.example/", "file:///etc"])
def test_an_address_that_is_none(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An address of another kind is refused."""
    found = Response(200, {}, [(0.0, json.dumps({"url": url}).encode())])
    monkeypatch.setattr(Server, "send", lambda *_: found)
    with pytest.raises(CommandError, match="names no address of sockets"):
        command._sockets(Server("http://localhost:1/v1", "k"))


def test_sockets_of_another_host_need_its_name(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API cannot lead the load to a host that the user has not named."""
    monkeypatch.setattr(command, "generate", None)
    monkeypatch.setattr(command, "_sockets", lambda *_: "wss://victim.example/responses")
    line = "load https://a.example/v1 --model m --form websocket --allow-host a.example"
    assert main(line.split()) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "--allow-host victim.example" in said


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (load.rate, "5", (5, 5)),
        (load.rate, "0.5", (0.5, 0.5)),
        (load.rate, "1-20", (1, 20)),
        (load.rate, "0-20", (0, 20)),
        (load.duration, "500ms", 0.5),
        (load.duration, "1.5s", 1.5),
        (load.duration, "2m", 120),
        (load.duration, "1h", 3600),
        (load.share, "5%", 0.05),
        (load.share, "0.05", 0.05),
        (load.share, "100%", 1),
        (load.whole, "7", 7),
    ],
)
def test_values(parse: Callable[[str], Any], text: str, value: Any) -> None:
    """Rates, times, shares and numbers are read in the forms of the help."""
    assert parse(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (load.rate, "0"), (load.rate, "0-0"), (load.rate, "-1"), (load.rate, "1-"),
        (load.rate, "nan"), (load.rate, "999999"), (load.duration, "5"), (load.duration, "0s"),
        (load.duration, "1d"), (load.share, "101%"), (load.share, "2"), (load.share, "x"),
        (load.whole, "0"), (load.whole, "1.5"), (load.whole, "9999999"), (load.whole, "٣"),
    ],
)  # fmt: skip
def test_wrong_values(parse: Callable[[str], Any], text: str) -> None:
    """What is no such value is refused, with an example."""
    with pytest.raises(argparse.ArgumentTypeError, match=r"such as|from 1 to"):
        parse(text)


def test_shares_of_clients_are_at_most_all(capsys: pytest.CaptureFixture[str]) -> None:
    """Slow readers, droppers and resumers cannot be more than all."""
    shares = ["--slow-readers", "60%", "--droppers", "30%", "--resumers", "20%"]
    assert main(["load", "http://localhost:1/v1", *shares]) == 2
    assert "more than 100% together" in capsys.readouterr().err


def test_a_run_on_aws_asks_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that costs money needs a terminal or --yes, and says what it would send."""
    target = command.Target("https://x/v1", "m", admin=object())  # type: ignore[arg-type]
    monkeypatch.setattr(command, "_target", lambda args: target)
    line = "--stage dev --rate 2 --duration 30s --max-tokens 10"
    assert main(["load", *line.split()]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "Some 60 requests go to the stage dev, with up to 600 completion tokens" in said
    assert "--yes" in said


def test_the_progress() -> None:
    """The progress has what is open, and how streams ended."""
    run = run_of([record(0), record(1), record(2, "cut")])
    assert counts(run) == "0 open, 2 complete, 1 cut"


class Failing:
    """An admin API that makes keys, and fails in all else."""

    stage = "local"

    def __call__(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Make a key."""
        if method == "POST":
            return {"id": "k1", "secret": "s", **body}
        raise CommandError("The usage table does not answer.")

    def pages(self, path: str, **query: Any) -> Any:
        """Fail."""
        raise CommandError("The usage table does not answer.")


def test_a_report_is_not_lost_where_the_admin_api_fails(
    api: LyingAPI, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report is printed, says why nothing was compared, and the error names the keys."""
    target = command.Target(api.url, "m", admin=Failing())  # type: ignore[arg-type]
    monkeypatch.setattr(command, "_target", lambda args: target)
    monkeypatch.setattr(command, "read_asks", lambda *_: [Ask("whole", 1)])
    line = "load --prompts x --rate 10 --duration 100ms --arrivals constant --json"
    assert main(line.split()) == 1
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["endings"]["complete"] == 1
    assert report["ledger"]["why"] == "The usage table does not answer."
    assert "Temporary keys are left" in err


def test_files_are_opened_before_the_run(
    run: Callable[..., tuple[int, str, str]], api: LyingAPI, tmp_path: Path
) -> None:
    """A folder that is not there is told before anything is sent."""
    status, out, err = run("whole", line=f"--html {tmp_path}/none/a.html")
    assert (status, out, api.bodies) == (2, "", [])
    assert "No such file" in err
