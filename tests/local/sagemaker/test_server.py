"""Endpoints that are created, updated and deleted with their stacks."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.cloud import LocalCloud
from tests.support.endpoint_templates import OUTPUTS, template
from tests.support.local_cloud import Client, Stacks


def _status(cloud: LocalCloud, name: str) -> dict[str, Any]:
    return next(item for item in cloud.ask("status")["endpoints"] if item["name"] == name)


def test_update_and_failure(cloud: LocalCloud, client: Client, stacks: Stacks) -> None:
    """A new configuration replaces the containers.

    If the new one cannot start, the stack fails and the old one continues to serve.
    """
    stack = stacks.create(template({"N": "1"}, instances=2), OUTPUTS)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    name = stacks.outputs(stack)["Name"]
    runtime = client("sagemaker-runtime")

    def environment() -> dict[str, str]:
        response = runtime.invoke_endpoint(EndpointName=name, Body=b"environment")
        return dict(json.loads(response["Body"].read())["environment"])

    assert environment()["N"] == "1"
    stacks.update(stack, template({"N": "2"}), OUTPUTS)
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)
    assert environment()["N"] == "2"
    assert stacks.outputs(stack)["Name"] == name

    stacks.update(stack, template({"N": "3", "REFUSE": "no weights found"}), OUTPUTS)
    assert stacks.status(stack) == "UPDATE_ROLLBACK_COMPLETE"
    assert "no weights found" in stacks.reasons(stack)
    assert environment()["N"] == "2"
    assert client("sagemaker").describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService"
    assert _status(cloud, name)["status"] == "InService"

    port = environment()["SAGEMAKER_BIND_TO_PORT"]
    serving = [path for path in Path("/proc").glob("[0-9]*") if _serves(path, port)]
    assert serving
    stacks.delete(stack)
    ends = time.monotonic() + 60
    while any(path.exists() for path in serving):
        assert time.monotonic() < ends, "a container still runs"
        time.sleep(0.02)
    with pytest.raises(ClientError, match="ValidationError"):
        environment()


def _serves(process: Path, port: str) -> bool:
    try:
        return f"SAGEMAKER_BIND_TO_PORT={port}\0".encode() in (process / "environ").read_bytes()
    except OSError:
        return False


def test_failed_creation(stacks: Stacks) -> None:
    """If a container does not start, the stack fails with the last lines of its log."""
    stack = stacks.create(template({"REFUSE": "bad setting SLUICE_X"}))
    assert stacks.status(stack) == "ROLLBACK_COMPLETE"
    assert "bad setting SLUICE_X" in stacks.reasons(stack)
