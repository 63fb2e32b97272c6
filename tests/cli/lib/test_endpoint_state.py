"""The state of a stack's endpoint."""

from collections.abc import Callable

import pytest

from cli.lib.completions import Unavailable
from cli.lib.endpoint_state import explained
from cli.lib.project import CommandError


@pytest.mark.usefixtures("account")
def test_a_503_of_a_stopped_endpoint_is_explained(deploy: Callable[..., None]) -> None:
    """If the endpoint is stopped, the error names the command that starts it.

    Otherwise it is the API's own error.
    """
    with pytest.raises(Unavailable, match="The API says"), explained("dev", "sluice"):
        raise Unavailable("The API says: no.")
    deploy(state="Stopped")
    with (
        pytest.raises(CommandError, match="sluice endpoint start --stage dev"),
        explained("dev", "sluice"),
    ):
        raise Unavailable("The API says: no.")
