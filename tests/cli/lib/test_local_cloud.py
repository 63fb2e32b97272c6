"""Deployments into the local cloud, one at a time.

tests/local/test_cloud.py waits until a local cloud ends.
"""

from http.client import IncompleteRead
from pathlib import Path

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from cli.lib.local_cloud import alone, answering
from cli.lib.project import CommandError
from local.cloud import LocalCloudError


def test_a_second_up_is_refused(tmp_path: Path) -> None:
    """While one `sluice up` deploys, another one fails. Afterwards it does not."""
    with (
        alone(tmp_path),
        pytest.raises(CommandError, match="Another `sluice up` is at work"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (EndpointConnectionError(endpoint_url="http://x"), "does not answer: Could not connect"),
        (ConnectionRefusedError(111, "Connection refused"), "does not answer: Connection refused."),
        (IncompleteRead(b""), "does not answer: IncompleteRead"),
        (ClientError({"Error": {"Message": "full"}}, "Put"), "has refused a call: An error"),
        (LocalCloudError("no token"), "has refused a call: no token. Its log is "),
    ],
    ids=lambda it: type(it).__name__,
)
def test_a_call_that_fails_says_what_to_do(error: Exception, said: str) -> None:
    """The local cloud may have been killed between two steps."""
    with pytest.raises(CommandError) as caught, answering():
        raise error
    assert f"The local cloud {said}" in str(caught.value)
    assert "`sluice down`" in str(caught.value)
