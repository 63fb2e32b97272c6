"""`sluice fault`. tests/local/faults cover what faults do."""

from typing import Any

import pytest

from cli.commands import fault
from cli.main import main
from local.cloud import LocalCloudRefusal
from local.faults.plan import KINDS


def test_the_help_lists_every_kind(capsys: pytest.CaptureFixture[str]) -> None:
    """`sluice fault set --help` describes all kinds, with options in place of fields."""
    with pytest.raises(SystemExit):
        main(["fault", "set", "--help"])
    text = capsys.readouterr().out
    assert all(f"  {kind} " in text for kind in KINDS)
    assert "`" not in text.partition("kinds ")[2]


@pytest.mark.parametrize(("after", "bytes_"), [("400", (400, None)), ("10-20", (10, 20))])
def test_where_it_strikes(
    monkeypatch: pytest.MonkeyPatch, after: str, bytes_: tuple[int, int | None]
) -> None:
    """`--after` takes a number of bytes or a range."""
    sent: list[Any] = []

    def call(*_: str, body: object) -> dict[str, str]:
        sent.append(body)
        return {"id": "f1"}

    monkeypatch.setattr(fault, "_call", call)
    assert main(["fault", "set", "container-killed", "--after", after]) == 0
    assert [(it["kind"], it["after"], it["after_most"]) for it in sent] == [
        ("container-killed", *bytes_)
    ]
    assert main(["fault", "set", "container-killed", "--after", "soon"]) == 2


def test_without_a_local_cloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the command that starts one."""
    monkeypatch.setattr("local.cloud.LocalCloud.find", lambda _folder: None)
    assert main(["fault", "list"]) == 1
    assert capsys.readouterr().err == "✗ No local cloud is running. Start one with: `make up`\n"


def test_a_refused_value_is_named_as_an_option(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that the local cloud refuses is a wrong command line."""

    class Cloud:
        def ask(self, *_: object, **__: object) -> None:
            raise LocalCloudRefusal("probability: must be a number, 0 to 1")

    monkeypatch.setattr(fault, "running_cloud", Cloud)
    assert main(["fault", "set", "table-slow", "--probability", "7"]) == 2
    assert capsys.readouterr().err == "✗ --probability: must be a number, 0 to 1\n"
