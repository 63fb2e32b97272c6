"""The CDK CLI, as commands run it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cli.lib import cdk
from cli.lib.project import CommandError


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Sequence[str], Mapping[str, str]]]:
    """Return the list of commands that would be run, with their environments."""
    calls: list[tuple[Sequence[str], Mapping[str, str]]] = []

    def run(command: Sequence[str], *, environment: Mapping[str, str], **_: Any) -> None:
        calls.append((command, environment))

    monkeypatch.setattr(cdk, "run_logged", run)
    return calls


def test_nothing_of_the_environment_leads_to_an_account(
    runs: list[tuple[Sequence[str], Mapping[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """CDK gets the AWS variables that are passed, and none of the caller's."""
    monkeypatch.setenv("AWS_PROFILE", "real")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "real")
    cdk.cdk(["synth"], aws={"AWS_REGION": "us-east-1"}, log=tmp_path / "log", detail=print)
    [(command, environment)] = runs
    assert command[1] == "synth"
    assert {name for name in environment if name.startswith("AWS")} == {"AWS_REGION"}


@pytest.mark.parametrize("writable", [True, False])
def test_jsii_has_a_cache_without_a_home(
    runs: list[tuple[Sequence[str], Mapping[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    writable: bool,
) -> None:
    """Where the home folder cannot be written, jsii's cache is in `build/`."""
    monkeypatch.setenv("HOME", str(tmp_path) if writable else "/dev/null/home")
    cdk.cdk(["list"], aws={}, log=tmp_path / "x.log", detail=lambda _: None)
    [(_, environment)] = runs
    assert ("JSII_RUNTIME_PACKAGE_CACHE_ROOT" in environment) is not writable


def test_a_deployment_returns_all_outputs(
    runs: list[tuple[Sequence[str], Mapping[str, str]]], tmp_path: Path
) -> None:
    """The outputs of all stacks are one mapping, and each setting is a `-c`."""
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps({"one": {"A": "1"}, "two": {"B": "2"}}))
    deployed = cdk.deploy(
        context={"stage": "dev", "name": "x"}, aws={}, outputs=outputs, log=outputs, detail=print
    )
    assert deployed == {"A": "1", "B": "2"}
    assert list(runs[0][0][-7:-3]) == ["-c", "stage=dev", "-c", "name=x"]


def test_a_deployment_that_was_killed_locks_nothing(
    runs: list[tuple[Sequence[str], Mapping[str, str]]], tmp_path: Path
) -> None:
    """The locks that a killed CDK CLI left do not count, whoever has its process id now."""
    assembly, outputs = tmp_path / "outputs.assembly", tmp_path / "outputs.json"
    assembly.mkdir()
    outputs.write_text("{}")
    for name in ("synth.lock", "read.1.1.lock", "manifest.json"):
        (assembly / name).write_text("1")
    cdk.deploy(context={}, aws={}, outputs=outputs, log=outputs, detail=print)
    assert str(assembly) in runs[0][0]
    assert [it.name for it in assembly.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (
            "sluice | 62/64 | 12:32:06 PM | CREATE_IN_PROGRESS      | AWS::Lambda::Url    | Edge/Url (Url006)",
            "62/64 Edge/Url",
        ),
        (
            "CDKToolkit |  1/15 | 12:30:49 PM | CREATE_COMPLETE | AWS::S3::Bucket | StagingBucket",
            "1/15 StagingBucket",
        ),
        ("sluice-local-service: deploying... [2/2]", "sluice-local-service: deploying... [2/2]"),
    ],
)
def test_a_spinner_shows_progress_and_resource(line: str, shown: str) -> None:
    """Of an event of CloudFormation, only its progress and the resource are shown."""
    assert cdk._short(line) == shown


def test_an_unfinished_set_up_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the CDK CLI, the error names what finishes the set-up."""
    monkeypatch.setattr(cdk, "ROOT", tmp_path)
    with pytest.raises(CommandError, match="`make setup`"):
        cdk.cdk(["synth"], aws={}, log=tmp_path / "log", detail=print)
