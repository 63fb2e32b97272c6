"""The error of a deployment into the local cloud."""

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber

from cli.lib.failed_deployment import failed
from cli.lib.project import LOGS, CommandError

BEGAN = datetime(2026, 11, 30, 12, tzinfo=UTC)
CDKS = CommandError("cdk deploy failed:\n    Error: no such file", log=Path("deploy.log"))


def event(
    name: str, status: str, reason: str = "", *, second: int = 1, kind: str = "AWS::S3::Bucket"
) -> dict[str, Any]:
    """Return an event of a resource."""
    return {
        "StackId": "s",
        "EventId": f"{name}{second}",
        "StackName": "s",
        "LogicalResourceId": name,
        "ResourceType": kind,
        "Timestamp": BEGAN + timedelta(seconds=second),
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


def said(status: str | None, *events: dict[str, Any]) -> str:
    """Return the error's text for a stack with these events, newest first."""
    client = boto3.client(
        "cloudformation", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stubber:
        if status is None:
            for operation in ("describe_stack_events", "describe_stacks"):
                stubber.add_client_error(operation, "ValidationError", "s does not exist")
        else:
            stubber.add_response("describe_stack_events", {"StackEvents": list(events)})
            stack = {"StackName": "s", "CreationTime": BEGAN, "StackStatus": status}
            stubber.add_response("describe_stacks", {"Stacks": [stack]})
        error = failed(client, ["s"], BEGAN.timestamp() + 0.5, CDKS)
        stubber.assert_no_pending_responses()
    assert error.log == CDKS.log
    return str(error)


def test_the_resource_that_failed_first_is_the_reason() -> None:
    """Failures of before, of the stack and of what was cancelled therefore are not."""
    first = event("Endpoint65D8CF31", "UPDATE_FAILED", "no such image", second=2)
    text = said(
        "UPDATE_ROLLBACK_COMPLETE",
        event("s", "UPDATE_ROLLBACK_COMPLETE", kind="AWS::CloudFormation::Stack", second=5),
        event("Later", "DELETE_FAILED", "it is in use", second=4),
        event("Other", "CREATE_FAILED", "Resource creation cancelled", second=2),
        first,
        event("s", "UPDATE_FAILED", "x", kind="AWS::CloudFormation::Stack", second=2),
        event("Before", "CREATE_FAILED", "an older one", second=-9),
    )
    assert text == (
        "s: Endpoint (AWS::S3::Bucket) failed: no such image\n  What was deployed before still "
        "serves, unchanged. Mend the cause, and run the same command again."
    )


@pytest.mark.parametrize(
    ("status", "now"),
    [
        (None, "nothing is deployed into it. Mend the cause"),
        ("ROLLBACK_COMPLETE", "nothing is deployed into it. Mend the cause"),
        ("CREATE_COMPLETE", "still serves, unchanged. Mend the cause"),
        ("UPDATE_ROLLBACK_FAILED", "nothing may serve. Begin anew by `sluice down`"),
    ],
)
def test_without_a_failed_resource_the_cdk_clis_lines_are_the_reason(
    status: str | None, now: str
) -> None:
    """A synthesis or an upload failed. The last line says what serves, and what to do."""
    text = said(status)
    assert text.startswith(str(CDKS))
    assert now in text.splitlines()[-1]


def test_a_local_cloud_that_ended_is_not_called_empty() -> None:
    """Without an answer nothing is known about what serves, so the message says what to do."""
    with socket.socket() as unheard:  # it does not listen, and so no other program does
        unheard.bind(("127.0.0.1", 0))
        client = boto3.client(
            "cloudformation",
            "us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            endpoint_url=f"http://127.0.0.1:{unheard.getsockname()[1]}",
            config=Config(retries={"total_max_attempts": 1}),
        )
        text = str(failed(client, ["s"], BEGAN.timestamp(), CDKS))
    assert text.startswith(str(CDKS))
    last = text.splitlines()[-1]
    assert "The local cloud does not answer: Could not connect" in last
    assert f"Its log is {LOGS / 'cloud.log'}. Begin anew by `sluice down` and `sluice up`." in last


def test_another_error_than_no_such_stack_is_told() -> None:
    """Only the answer that there is no stack means that nothing is deployed."""
    client = boto3.client(
        "cloudformation", "us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stubber:
        stubber.add_client_error("describe_stack_events", "InternalFailure", "it broke")
        text = str(failed(client, ["s"], BEGAN.timestamp(), CDKS))
    assert "The local cloud has refused a call: " in text.splitlines()[-1]
    assert "it broke. Its log is" in text.splitlines()[-1]
