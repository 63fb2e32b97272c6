"""`sluice env`: how a shell reads its lines."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from cli import main
from cli.lib import values
from cli.lib.stack import LocalStack
from local.cloud import LocalCloud
from local.trust import Keys

HOSTILE = [
    "a b",
    "$(touch INJECTED)",
    "`touch INJECTED`",
    "x; touch INJECTED #",
    "x\ntouch INJECTED\n",
    "'; touch INJECTED; '",
    '"; touch INJECTED; "',
    "\\",
    "*",
    "~",
    "-n",
    "",
]


def shell(folder: Path, lines: str, name: str) -> str:
    """Return a variable as a POSIX shell has it after `eval` of the lines."""
    script = f'eval "$1"; printf %s "${name}"'
    return subprocess.run(
        ["/bin/sh", "-c", script, "sh", lines],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("value", HOSTILE)
def test_values_are_only_values(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shell sets any output or key of a stack as it is, and runs no part of it."""
    authority = tmp_path / value.replace("/", "") / "ca.pem" if value else tmp_path / "ca.pem"
    authority.parent.mkdir(exist_ok=True)
    authority.write_text("")
    stack = LocalStack(f"http://{value}/v1", value or "sk", "m", "t", authority=str(authority))
    monkeypatch.setattr(LocalStack, "of", lambda *_: stack)
    assert main.main(["env"]) == 0
    lines = capsys.readouterr().out
    assert shell(tmp_path, lines, "OPENAI_BASE_URL") == stack.base_url
    assert shell(tmp_path, lines, "OPENAI_API_KEY") == stack.api_key
    assert shell(tmp_path, lines, "SSL_CERT_FILE") == str(authority.with_name("bundle.pem"))
    assert not list(tmp_path.rglob("INJECTED"))


def test_the_local_clouds_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--aws` sets what AWS clients need for the running local cloud.

    It unsets the variables that would lead them to another account.
    """
    cloud = LocalCloud(tmp_path, 1, "http://localhost:4566", Keys.new())
    monkeypatch.setattr(LocalCloud, "find", lambda *_: cloud)
    assert main.main(["env", "--aws"]) == 0
    lines = "export AWS_SESSION_TOKEN=old\n" + capsys.readouterr().out
    for name, value in {**cloud.aws_environment(), "AWS_SESSION_TOKEN": ""}.items():
        assert shell(tmp_path, lines, name) == value
    assert main.main(["env", "--aws", "--stage", "dev"]) == 2
    assert "your own credentials" in capsys.readouterr().err


def test_exports() -> None:
    """Plain values stay readable."""
    assert values.exports({"A": "http://localhost:1/v1"}) == "export A=http://localhost:1/v1\n"


@pytest.mark.usefixtures("account")
def test_a_stage_on_aws(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--stage` prints a deployment's address and the key of the environment.

    Without a key it prints the command that makes one.
    """
    deploy(outputs={"DistributionDomain": "d1.cloudfront.net", "ModelName": "m"})
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main.main(["env", "--stage", "dev"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "export OPENAI_BASE_URL=https://d1.cloudfront.net/v1"
    assert lines[1].startswith("# Set OPENAI_API_KEY yourself.")


@pytest.mark.usefixtures("account")
def test_a_stage_with_its_own_domain(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If a deployment has a domain, its address is that domain."""
    domains = {"DistributionDomain": "d1.cloudfront.net", "Domain": "api.example.org"}
    deploy(outputs={**domains, "ModelName": "m"})
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert main.main(["env", "--stage", "dev"]) == 0
    assert capsys.readouterr().out == (
        "export OPENAI_BASE_URL=https://api.example.org/v1\nexport OPENAI_API_KEY=sk-x\n"
    )
