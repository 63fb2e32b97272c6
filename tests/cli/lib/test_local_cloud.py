"""Deployments into the local cloud, one at a time.

tests/local/test_cloud.py waits until a local cloud ends.
"""

import json
from http.client import IncompleteRead
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from moto import mock_aws

from cli.lib import local_cloud
from cli.lib.local_cloud import alone, answering, reusable
from cli.lib.project import CommandError
from local.cloud import LocalCloud, LocalCloudError
from local.trust import Keys


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


@pytest.mark.parametrize("deployed", [False, True])
def test_a_cloud_with_other_options_is_stopped_if_it_is_empty(
    *, deployed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `up` that failed has left it. One with stacks is left as it is, and the error says so."""
    stopped: list[bool] = []
    monkeypatch.setattr(local_cloud, "stop", lambda: stopped.append(True))
    monkeypatch.setattr(local_cloud, "_has_stacks", lambda _: deployed)
    running = LocalCloud(tmp_path, 1, "http://127.0.0.1:1", Keys.new(), engine="podman")
    assert reusable(running, "podman", tls=False, options=[], port=None) is running
    if deployed:
        with pytest.raises(CommandError, match=r"containers by podman\. Stop it first"):
            reusable(running, None, tls=False, options=[], port=None)
    else:
        assert reusable(running, None, tls=False, options=[], port=None) is None
    assert stopped == ([] if deployed else [True])


def test_the_stack_of_bootstrapping_is_no_deployment() -> None:
    """A local cloud that has only this one is empty."""
    options = {
        "region_name": "us-east-1",
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
    }
    cloud = cast("LocalCloud", SimpleNamespace(client_options=lambda: options))
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    with mock_aws():
        formation = boto3.client("cloudformation", **options)
        for name, has in (("CDKToolkit", False), ("sluice-local-state", True)):
            formation.create_stack(StackName=name, TemplateBody=template)
            assert local_cloud._has_stacks(cloud) is has
