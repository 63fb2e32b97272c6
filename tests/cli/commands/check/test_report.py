"""The report of `sluice check`, and its exit status."""

import json

import pytest

from cli.commands.check.probes import Finding
from cli.commands.check.report import check
from cli.lib.project import CommandError, UsageError
from cli.lib.stack import LocalStack
from cli.main import main


def test_exit_status_and_json(careless: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An API that breaks a rule fails the command. The JSON has all findings."""
    with pytest.raises(CommandError, match="rules do not hold"):
        check(careless, key="k", as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["conforms"], report["model"]) == (False, "m")
    assert {Finding(**finding).verdict for finding in report["findings"]} == {
        "ok",
        "wrong",
        "unknown",
    }


def test_no_server() -> None:
    """For an address without a server, the error is one line."""
    with pytest.raises(CommandError, match="refused"):
        check("http://127.0.0.1:9/v1", key="k")


def test_the_local_stack_over_tls(
    careless_tls: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a URL, the local stack's authority is trusted."""
    url, authority = careless_tls
    stack = LocalStack(url, "k", "m", "t", authority=authority)
    monkeypatch.setattr(LocalStack, "load", lambda: stack)
    assert main(["check", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["url"] == url


@pytest.mark.parametrize(
    "url", ["localhost:8787/v1", "example.com", "ftp://example.com", "http://a:b/"]
)
def test_an_address_that_is_no_url(url: str) -> None:
    """Nothing is sent, and the command line is wrong."""
    with pytest.raises(UsageError):
        check(url, key="k")
