"""`sluice cost`: its arguments, and what it prints."""

import argparse
import json
import shlex
from pathlib import Path

import pytest

from cli.commands import cost
from cli.lib.project import CommandError
from cli.main import main

G6 = ["-c", "instance_type=ml.g6.xlarge"]


def run(*arguments: str) -> None:
    """Run `sluice cost` with arguments."""
    parser = argparse.ArgumentParser()
    cost.add(parser)
    cost.run(parser.parse_args([*G6, *arguments]))


def sheet(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    """Return the JSON of `sluice cost`."""
    run(*arguments, "--json")
    content: dict[str, object] = json.loads(capsys.readouterr().out)
    return content


def test_the_sheet_has_the_month_the_idle_sum_and_the_peak(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A user reads demand, supply, the total, what nobody's calls cost, and what suffices."""
    run("--users", "10000", "--throughput", "1500", "--compare", "0.22,0.22")
    printed = " ".join(capsys.readouterr().out.split())
    for text in (
        "1,520,833 requests a month of 300 tokens",
        "1,500 tokens/s each (given), 5.8% used",
        "100.0%",
        "When nobody calls, a month costs",
        "The instances' slots: 32 of 32 are needed, 100%. Scarce: raise instance_count",
        "The instances' tokens/s: 694 of 3,000 are needed, 23%. Enough.",
        "They cost less than the function on demand from",
        "this demand would cost 267.67 USD a month. This deployment costs more than those tokens",
        "USD as server-sent events, 0.50 USD more over sockets",
        "0.16 USD less with 8 answers side by side",
        "A million answers that are stored cost",
        "Assumed, not measured: 5 answers a day of each user, 300 tokens an answer",
        "Not confirmed at their source:",
    ):
        assert text in printed


@pytest.mark.parametrize(
    ("option", "needs"),
    [("--region=eu-central-1", "--refresh-prices"), ("--measured-instances=2", "--measured. Give")],
)
def test_an_option_without_effect_is_refused(
    option: str, needs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says which option it is about."""
    assert main(["cost", option]) == 2
    assert needs in capsys.readouterr().err


def test_the_page_shows_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """The command on the page prints the sheet below it, before it lists assumptions."""
    page = (Path(__file__).parents[4] / "docs/explanation/cost.md").read_text()
    command, _, rest = page.partition("```sh\nsluice ")[2].partition("\n```\n\n```\n")
    sample = rest.partition("\n```")[0]
    assert main(shlex.split(command.replace("\\\n", " "))) == 0
    printed = capsys.readouterr().out.partition("Assumed, not measured")[0]
    assert printed.split() == sample.split()
    assert all(len(line) <= 80 for line in sample.splitlines())


def test_the_same_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A program finds what the sheet says: total, capacities, comparisons, what is not in it."""
    found = sheet(capsys, "--users", "10000", "--throughput", "1500", "--compare", "3,15")
    month, even = found["month"], found["break_even"]
    assert isinstance(month, dict)
    assert isinstance(even, dict)
    assert found["total"] == pytest.approx(sum(month.values()))
    assert even["tokens"]["prices"] == {"prompt": 3.0, "completion": 15.0}
    assert even["tokens"]["month"] == pytest.approx(1_520_833.33 * (500 * 3 + 300 * 15) / 1e6)
    assert even["tokens"]["turn"]["always"] < 1_520_833
    assert even["managed_instances"]["first"] > 1_520_833
    assert found["capacities"][0] == {  # type: ignore[index]
        "name": "The instances' slots", "needed": 32, "holds": 32, "suffices": True,
    }  # fmt: skip
    assert "support" in found["not_included"]  # type: ignore[operator]
    assert "ml.g6.xlarge" in found["prices"]["unconfirmed"]  # type: ignore[index]
    assert set(found["kept_answer"]) == {"stored", "logged"}  # type: ignore[call-overload]


def test_what_is_not_in_the_sum_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Features whose cost is not computed are on the sheet, and so is what scaling assumes."""
    settings = ("traces=cloudwatch", "websocket=true", "max_instances=4")
    run("--requests-per-month", "1e6", *(part for it in settings for part in ("-c", it)))
    printed = " ".join(capsys.readouterr().out.split())
    for text in ("(detailed_metrics)", "spans (traces)", "items of sockets", "support"):
        assert text in printed.partition("Not included:")[2]
    assert "2 instances on average" in printed.partition("Assumed")[2]
    run("-c", "instance_count=1", "-c", "scale_to_zero=true")
    asleep = " ".join(capsys.readouterr().out.split())
    assert (
        "instances is taken as 1, which costs 822.49 USD. Give another average with --instances N"
        in asleep
    )
    run("-c", "detailed_metrics=false")
    assert "detailed_metrics" not in capsys.readouterr().out


def test_a_text_from_outside_is_no_markup(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's name and a report's reasons are printed as they are."""
    monkeypatch.chdir(tmp_path)
    report = Path("[b]r[final].json")
    figures = {
        "object": "load_report", "tokens": {"per_second": 9.0}, "ttft": None, "itl": None,
        "client": {"bottleneck": ["CPU [/x]"]},
    }  # fmt: skip
    report.write_text(json.dumps(figures))
    run("--measured", str(report))
    printed = " ".join(capsys.readouterr().out.split())
    assert "[b]r[final].json: its client was the bottleneck: CPU [/x]." in printed


def test_the_capacity_of_sockets_is_their_functions(capsys: pytest.CaptureFixture[str]) -> None:
    """Requests on sockets need its concurrency, and others that of the stream function."""
    run(
        "--users",
        "50000",
        "--peak",
        "3",
        "-c",
        "websocket=true",
        "--sockets",
        "1",
        "-c",
        "instance_count=20",
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "The function's reserved concurrency: 0 of 200" in printed
    assert "The socket function's reserved concurrency: 95 of 100 are needed" in printed


def test_the_instances_of_somebody_elses_endpoint(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is said of them: neither how many there are, nor what they cost."""
    options = ("--users", "100", "--throughput", "9", "-c", "endpoint_name=foo")
    assert main(["cost", *options, "--compare", "1,1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "an endpoint that exists already" in printed
    for text in ("slots", "instance_count", "ml.c5", "of an instance", "hour needs 1"):
        assert text not in printed


def test_what_is_not_given_is_not_stated(capsys: pytest.CaptureFixture[str]) -> None:
    """Without demand there is no sum by use, and without a throughput no statement about it."""
    run()
    printed = " ".join(capsys.readouterr().out.split())
    assert "No demand is given" in printed
    assert "throughput is not known" in printed
    assert "tokens/s each" not in printed
    run("--requests-per-month", "1000")
    assert "generate fast enough is not known" in " ".join(capsys.readouterr().out.split())


def test_a_peak_over_the_capacity_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Slots, concurrency and tokens/s that do not suffice are named with the way out."""
    run("--users", "200000", "--throughput", "500", "-c", "max_instances=4")
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("Not enough: raise") == 3
    assert "Scaling may start up to 4 instances" in printed


def test_json_says_where_each_figure_comes_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Given comes before measured, and measured before assumed."""
    report = tmp_path / "report.json"
    report.write_text(
        json.dumps(
            {
                "object": "load_report",
                "tokens": {"per_second": 3000.0},
                "ttft": {"mean": 100.0},
                "itl": {"mean": 10.0},
                "client": {"bottleneck": []},
            }
        )
    )
    measured = ("--measured", str(report), "--measured-instances", "2", "--first-token", "0.2")
    content = sheet(capsys, "--utilisation", "0.5", *measured)
    use, sources = content["use"], content["sources"]
    assert isinstance(use, dict)
    assert isinstance(sources, dict)
    assert (use["throughput"], use["tokens_per_second"], use["first_token"]) == (1500, 100, 0.2)
    assert (sources["throughput"], sources["tokens_per_second"]) == ("measured", "measured")
    assert (sources["first_token"], sources["peak"]) == ("given", "assumed")
    assert content["utilisation"] == pytest.approx(0.5)
    assert sheet(capsys)["utilisation"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-c", "bogus=1"], "bogus: there is no such setting"),
        (["--throughput", "0"], "--throughput"),
        (["--throughput", "nan"], "--throughput"),
        (["--streams-per-vcpu", "0"], "--streams-per-vcpu"),
        (["--first-token", "-1"], "--first-token"),
        (["--users", "inf"], "--users"),
        (["--users", "1", "--requests-per-month", "1"], "two statements of demand"),
        (["--answers-a-day", "1"], "--users"),
        (["--utilisation", "0.5"], "Give --throughput, too"),
        (["--utilisation", "2", "--throughput", "1"], "--utilisation"),
        (["--peak", "0.5"], "--peak"),
        (["--tokens", "3000", "--tokens-per-second", "1"], "deadline"),
        (["--measured-instances", "0", "--measured", "bench/results/model.json"], "at least 1"),
        (["--measured-instances", "9" * 401, "--measured", "bench/results/model.json"], "10.12"),
        (["--throughput", "1e-320"], "at least 0.000001"),
        (["--prompt-tokens", "4000"], "do not fit the context of 4,096"),
        (["--sockets", "2", "-c", "websocket=true"], "--sockets"),
        (["--sockets", "1"], "needs -c websocket=true"),
        (["--instances", "0"], "--instances"),
        (["--requests-per-month", "1e-320"], "--requests-per-month"),
        (["--instances", "nan"], "--instances"),
    ],
)
def test_invalid_figures_are_refused(arguments: list[str], message: str) -> None:
    """The error names the option, whichever is impossible."""
    with pytest.raises(CommandError, match=message):
        run(*arguments)


@pytest.mark.parametrize("text", ["1", "a,b", "1,-1", "1,2,3", "nan,1"])
def test_a_comparison_is_two_prices(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Anything but two prices is a mistake of the command line."""
    with pytest.raises(SystemExit):
        run("--compare", text)
    assert "--compare" in capsys.readouterr().err


def test_a_refresh_names_a_region() -> None:
    """A region that is no name reaches no address."""
    with pytest.raises(CommandError, match="not a region's name"):
        run("--refresh-prices", "--region", "../x")
