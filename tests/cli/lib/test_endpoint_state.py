"""The state of a stack's endpoint."""

from collections.abc import Callable

import pytest

from cli.lib.completions import Refused
from cli.lib.endpoint_state import explained
from cli.lib.project import CommandError


@pytest.mark.usefixtures("account")
def test_a_503_of_a_stopped_endpoint_is_explained(deploy: Callable[..., None]) -> None:
    """If the endpoint is stopped, the error names the command that starts it.

    Otherwise it is the API's own error.
    """
    with pytest.raises(Refused, match="The API says"), explained("dev", "sluice"):
        raise Refused("The API says: no.", http_status=503)
    deploy(state="Stopped")
    with (
        pytest.raises(CommandError, match="sluice endpoint start --stage dev"),
        explained("dev", "sluice"),
    ):
        raise Refused("The API says: no.", http_status=503)


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("status", "code", "stage", "advice"),
    [
        (503, "service_stopped", "local", "`sluice stop --undo`"),
        (503, "service_stopped", "dev", "`sluice stop --undo --stage dev --stack-name other`"),
        (429, "monthly_ceiling_reached", "local", "`sluice up -c monthly_ceiling=USD`"),
        (429, "monthly_ceiling_reached", "dev", "`make deploy STAGE=dev SET="),
        (429, "insufficient_quota", "local", "`sluice keys show KEY`"),
        (401, "invalid_api_key", "local", "`sluice up` makes another"),
        (401, "invalid_api_key", "dev", None),
        (429, "rate_limit_exceeded", "local", None),
        (None, "", "local", None),
    ],
)
def test_a_refusal_names_the_command_that_ends_it(
    status: int | None, code: str, stage: str, advice: str | None
) -> None:
    """What an operator has set has a command that changes it. The rest is the API's own error."""
    name = "sluice" if stage == "local" else "other"
    with (
        pytest.raises(CommandError, match=r"^The API says: no\.") as caught,
        explained(stage, name),
    ):
        raise Refused("The API says: no.", http_status=status, code=code)
    if advice is None:
        assert str(caught.value) == "The API says: no."
    else:
        assert advice in str(caught.value)
