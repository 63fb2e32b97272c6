"""Errors of the command line."""

import pytest

from cli.main import main


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("endpoint", ["A command is missing.", "stop, start", "`sluice endpoint --help`"]),
        ("endpoint stap", ["no command 'stap'", "Did you mean `sluice endpoint stop`?"]),
        ("keys bogus", ["no command 'bogus'", "create, list, show"]),
        ("doctor --jsn", ["'--jsn' is unknown here", "Did you mean --json?"]),
        ("doctor extra", ["'extra' is unknown here", "usage: sluice doctor"]),
        ("--versoin", ["'--versoin' is unknown here", "Did you mean --version?", "usage: sluice"]),
        ("--json", ["'--json' is unknown here. `sluice --help`"]),
        ("audit --most 0", ["--most: '0' is not a whole number from 1"]),
        ("usage --days 7", ["'--days' is unknown here", "usage: sluice usage"]),
        ("keys --jsn", ["'--jsn' is unknown here", "`sluice keys --help`"]),
        ("fault set table-throtled", ["no kind 'table-throtled'", "Did you mean table-throttled?"]),
        ("fault set foo", ["no kind 'foo'. The kinds are: one-byte-parts, ", ", socket-gone."]),
        ("cost --users abc", ["--users: 'abc' is not a number."]),
        ("cost --prompt-tokens 1.5", ["--prompt-tokens: '1.5' is not a whole number."]),
        (
            "trace --nope",
            ["'--nope' is unknown here. `sluice trace --help`", "usage: sluice trace"],
        ),
        ("trace -x", ["'-x' is unknown here"]),
        ("trace --jso", ["arguments are required: ID"]),
        ("trace --since 1h --nope=1", ["'--nope=1' is unknown here"]),
        ("keys update --tokens-per-dya=5", ["Did you mean --tokens-per-day?"]),
        ("audit --most -5 --nope", ["--most: '-5' is not a whole number from 1"]),
        ("keys update --concurrent-streams -5", ["'-5' is neither a whole number"]),
        ("usage --by \udcff", ["--by: '\\udcff' is not UTF-8"]),
        ("keys list --owner a\udcffb", ["--owner: 'a\\udcffb' is not UTF-8"]),
        ("chat hello \udcff", ["question: '\\udcff' is not UTF-8"]),
        ("top --stack-name \udcff", ["--stack-name: '\\udcff' is not UTF-8"]),
        ("cost --measured=", ["--measured: the name of a file is missing"]),
        ("up --model=", ["--model: the name of a file is missing"]),
        ("check --stage dev", ["'--stage' is unknown here", "`sluice env --stage dev` prints"]),
        ("check --stage=dev", ["'--stage=dev' is unknown here. Give the URL:"]),
        ("up --stage dev", ["unknown here", "`make deploy STAGE=dev` deploys to AWS"]),
        ("down --stack-name x", ["unknown here", "`sluice destroy --stage dev` removes"]),
        ("fault list --stage dev", ["unknown here", "only in the local cloud"]),
        ("fault set table-throttled --stage dev", ["unknown here", "only in the local cloud"]),
        ("fault --stage=dev", ["unknown here", "only in the local cloud"]),
        ("completion fsh", ["invalid choice: 'fsh'", "'fish'"]),
    ],
)
def test_an_error_says_what_is_possible(
    line: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The usage is that of the command, and the error names what was meant or what there is."""
    with pytest.raises(SystemExit) as ended:
        main(line.split())
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert [part for part in parts if part not in error] == []


@pytest.mark.parametrize("line", [["usage", "request"], ["chat"]])
def test_a_thing_without_a_name_is_not_looked_up(
    line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty variable of a shell is told as such, and not by what a path without it means."""
    with pytest.raises(SystemExit) as ended:
        main([*line, ""])
    assert ended.value.code == 2
    assert "it is empty." in capsys.readouterr().err


def test_the_name_of_a_file_may_be_no_utf_8(capsys: pytest.CaptureFixture[str]) -> None:
    """Such a name is one on Linux, so the file is looked for."""
    assert main(["cost", "--measured", "\udcff"]) == 2
    assert "\\udcff cannot be read: No such file" in capsys.readouterr().err
