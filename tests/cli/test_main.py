"""The command line."""

import argparse
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from unittest.mock import Mock

import pytest

from cli import commands
from cli.lib.project import ROOT
from cli.main import COMMANDS, _parser, main
from tests.support.command_lines import ELSEWHERE, LINES, NO_FACTS, leaves, parsers

SLOW = (
    "boto3",
    "botocore",
    "openai",
    "aiohttp",
    "aws_cdk",
    "infra.settings",
    "model",
    "pydantic",
    "msgspec",
)
"""Packages that take long to import."""


def test_without_a_command_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """`sluice` alone prints the help, which lists every command, and succeeds."""
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^    (\w+)", printed, re.MULTILINE) == list(COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` names the command and its version."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("sluice 0.")


def test_a_command_is_the_module_of_its_name() -> None:
    """Each module of `cli.commands` is a command, with its help and its arguments."""
    [folder] = commands.__path__
    names = {path.stem for path in Path(folder).iterdir()} - {"__init__", "__pycache__", "prices"}
    assert names == set(COMMANDS)
    for name in COMMANDS:
        module = import_module(f"cli.commands.{name}")
        assert module.HELP.endswith(".")
        assert callable(module.add)


@pytest.mark.parametrize("line", [["--help"], ["keys", "--help"], ["up", "--help"]], ids=" ".join)
def test_help_imports_nothing_slow(line: list[str]) -> None:
    """The help of all commands, and of one, is printed without slow imports.

    Only the commands' work needs those modules.
    """
    script = f"import sys; from cli.main import main; main({line})"
    program = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr)); "
        f"{script}"
    )
    completed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "usage: sluice" in completed.stdout
    imported = completed.stderr.split()
    assert not [name for name in imported if name.startswith(SLOW)]
    if line[0] == "keys":
        assert [name for name in imported if name.startswith("cli.commands.")] == [
            "cli.commands.keys"
        ]


@pytest.mark.parametrize(
    ("name", "hint"), [("dwon", "Did you mean `sluice down`?"), ("bogus", "`sluice --help` lists")]
)
def test_an_unknown_command_is_an_invalid_command_line(
    capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    """For an unknown command, the message has the one that is meant, and the exit status is 2."""
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert f"no command '{name}'" in error
    assert hint in error


@pytest.mark.parametrize(
    "line",
    [
        "audit",
        "chat hello",
        "destroy --yes",
        "destroy --plan",
        "doctor",
        "endpoint stop",
        "env",
        "keys list",
        "keys list --iam",
        "load --rate 1 --duration 1s",
        "model push README.md",
        "playground",
        "preflight",
        "responses list",
        "restore --to 2026-11-01T00:00",
        "smoke",
        "stop",
        "top --once",
        "trace 00000000000000000000000000000001",
        "usage",
        "verify",
    ],
)
@pytest.mark.usefixtures("nowhere")
def test_each_command_says_the_same_without_access_to_aws(
    capsys: pytest.CaptureFixture[str], line: str
) -> None:
    """Each names region and credentials, whichever its first call would have needed."""
    assert main([*line.split(), "--stage", "dev"]) == 1
    words = capsys.readouterr().err.split()
    assert " ".join(words[:12]) == "✗ No AWS region and no AWS credentials are set for the"


def test_the_reference_has_the_stage_of_each_command_without_the_option() -> None:
    """The column is empty for a command that has no `--stage`."""
    stages: dict[str, set[str]] = {}
    for path, parser in parsers(_parser(())):
        defaults = {it.default for it in parser._actions if "--stage" in it.option_strings}
        stages.setdefault(path.partition(" ")[0], set()).update(defaults)
    page = (ROOT / "docs/reference/commands.md").read_text()
    rows = re.findall(r"^\| `sluice (\w+)[^`]*` \|.*\| ?([^|]*?) ?\|$", page, re.MULTILINE)
    found = {name: {stage} - {""} for name, stage in rows}
    assert found == {name: stages[name] - {argparse.SUPPRESS} for name in COMMANDS}


def test_a_file_that_the_command_line_names_is_wrong_input(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the system says about it, and about what is below it. Others are failures."""
    long = str(tmp_path / ("x" * 5_000))
    assert main(["up", "--model", long]) == 2
    assert "File name too long: " in capsys.readouterr().err
    for file, status in ((tmp_path / "a" / "b", 2), (Path("/elsewhere"), 1)):
        error = PermissionError(13, "Permission denied", str(file))
        monkeypatch.setattr("cli.lib.local_model.of", Mock(side_effect=error))
        assert main(["up", "--model", str(tmp_path / "a")]) == status
        assert f"Permission denied: {file}" in capsys.readouterr().err.replace("\n", "")


def test_every_command_is_tried_at_80_columns_and_facts_are_json_too() -> None:
    """Each command is in the table of tests/e2e/test_terminal.py, or says where it is tested.

    A command that prints facts has `--json`.
    """
    found = dict(leaves(_parser(())))
    assert found.keys() == {path for path, _ in LINES} | ELSEWHERE.keys()
    assert {path for path, options in found.items() if "--json" not in options} == NO_FACTS


def test_help_fits_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The help of each command has no line over 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    long = [
        (path, line)
        for path, parser in parsers(_parser(()))
        for line in parser.format_help().splitlines()
        if len(line) > 80
    ]
    assert long == []
