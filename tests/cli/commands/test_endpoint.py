"""`sluice endpoint`. tests/e2e stops and starts a deployed endpoint."""

from collections.abc import Callable

import pytest

from cli.main import main


@pytest.mark.usefixtures("account")
def test_stopping_twice_is_no_failure(
    deploy: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    """A stopped endpoint is left as it is, and the command says so."""
    deploy(state="Stopped")
    assert main(["endpoint", "stop", "--stage", "dev"]) == 0
    assert capsys.readouterr().out == "The endpoint of sluice-dev-service is stopped already.\n"
