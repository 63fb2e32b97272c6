"""Why a deployment into the local cloud failed, and what serves now, as CloudFormation says it.

The CDK CLI prints both among the events of all resources.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cli.lib.project import CommandError
from cli.lib.stack import is_absent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_RESTORED = {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"}
_CONSEQUENCE = re.compile("cancelled|The following resource", re.IGNORECASE)
"""Reasons of resources that failed because another one did."""


def failed(
    cloudformation: Any, stacks: Sequence[str], began: float, error: CommandError
) -> CommandError:
    """Return the error of a deployment: what failed, why, what serves now, and what to do.

    Args:
        cloudformation: boto3's client of the local cloud.
        stacks: The names of the stacks; the last one is what serves.
        began: When the deployment began, in Unix seconds.
        error: What the CDK CLI ended with. Where no resource has failed, its text is the reason:
            then the synthesis or an upload failed.

    """
    from botocore.exceptions import BotoCoreError, ClientError

    from cli.lib.local_cloud import unanswered

    said = str(error)
    try:
        for stack in stacks:
            # the first that failed: its failure is the reason of those after it
            for event in sorted(
                _failures(cloudformation, stack, began), key=lambda it: it["Timestamp"]
            ):
                name = re.sub("[0-9A-F]{8}$", "", event["LogicalResourceId"])
                reason = event.get("ResourceStatusReason") or "no reason was given"
                said = f"{stack}: {name} ({event['ResourceType']}) failed: {reason}"
                break
        now = _now(cloudformation, stacks[-1])
    except (BotoCoreError, ClientError) as lost:  # a local cloud that ended is the cause, too
        now = unanswered(lost)
    return CommandError(f"{said}\n  {now}", log=error.log)


def _failures(cloudformation: Any, stack: str, began: float) -> Iterator[Mapping[str, Any]]:
    from botocore.exceptions import ClientError

    try:
        pages = cloudformation.get_paginator("describe_stack_events").paginate(StackName=stack)
        for event in (event for page in pages for event in page["StackEvents"]):
            if (
                event["Timestamp"].timestamp() >= int(began)
                and event["ResourceStatus"].endswith("_FAILED")
                and event["ResourceType"] != "AWS::CloudFormation::Stack"
                and not _CONSEQUENCE.search(event.get("ResourceStatusReason", ""))
            ):
                yield event
    except ClientError as error:
        if not is_absent(error):
            raise


def _now(cloudformation: Any, stack: str) -> str:
    """Return what serves after a failed deployment, and what to do."""
    from botocore.exceptions import ClientError

    again = "Mend the cause, and run the same command again."
    try:
        [found] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
        status = found["StackStatus"]
    except ClientError as error:
        if not is_absent(error):
            raise
        status = ""
    if status in _RESTORED:
        return f"What was deployed before still serves, unchanged. {again}"
    if status in {"", "ROLLBACK_COMPLETE", "REVIEW_IN_PROGRESS"}:
        return f"The local cloud runs, and nothing is deployed into it. {again}"
    return (
        f"The stack {stack} is {status}, so nothing may serve. Begin anew by `sluice down` and "
        "`sluice up`; keys and usage are kept."
    )
