"""`sluice chat`. The tests of `cli.lib.completions` cover what it prints."""

from collections.abc import Callable

import pytest

from cli.main import main


@pytest.mark.usefixtures("account")
def test_a_stage_on_aws_needs_a_key(
    deploy: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a key, the error names the variable to set and the command that makes a key."""
    deploy(outputs={"DistributionDomain": "d1.cloudfront.net", "ModelName": "m"})
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["chat", "--stage", "dev", "Hello"]) == 1
    errors = capsys.readouterr().err
    assert "export OPENAI_API_KEY" in errors
    assert "sluice keys create --stage dev" in errors
