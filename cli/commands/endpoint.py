"""`sluice endpoint stop|start`: takes the endpoint away, which ends its bill, and brings it back.

Instances are paid for as long as an endpoint exists, so stopping deletes it, by a parameter of its stack. So
CloudFormation knows of it, and `cdk deploy`, which keeps parameters as they are, leaves a stopped endpoint stopped. The
model, its configuration, keys, usage and the API's address stay; until it is started again requests are answered 503.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.commands.chat import Unavailable
from cli.lib.project import CommandError
from cli.lib.stack import aws_options, unreadable
from cli.lib.terminal import console, step

PARAMETER = "EndpointState"
# An endpoint with large weights takes its start-up and download time limits at most, an hour each.
_LONGEST_S = 9000
_POLL_S = {"local": 0.1}


def stop(stage: str, name: str) -> None:
    """Delete the endpoint of a stage. Raises CommandError."""
    _set(stage, name, "Stopped", "Stopping the endpoint")


def start(stage: str, name: str) -> None:
    """Create it again and wait until it serves. Raises CommandError."""
    _set(stage, name, "Running", "Starting the endpoint (minutes, with large weights)")


def _set(stage: str, name: str, state: str, what: str) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    stack = f"{name}-{stage}-service"
    try:
        client = boto3.client("cloudformation", **aws_options(stage))
        if state_of(client, stack) == state:
            console.print(f"The endpoint of {stack} is {state.lower()} already.")
            return
        with step(what):
            change(client, stack, state, poll=_POLL_S.get(stage, 5.0))
    except (BotoCoreError, ClientError) as error:
        raise unreadable(stack, stage, error) from None


def stopped(stage: str, name: str) -> str:
    """Say that an endpoint is stopped, and what starts it."""
    more = f" --stage {stage}" if stage != "local" else ""
    more += f" --stack-name {name}" if name != "sluice" else ""
    said = f"The endpoint of {name}-{stage}-service is stopped, so requests get a 503."
    return f"{said} Start it: sluice endpoint start{more}"


@contextmanager
def explained(stage: str, name: str) -> Iterator[None]:
    """Let the block's `Unavailable` say that the endpoint is stopped, if it is."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except Unavailable as error:
        try:
            found = state_of(boto3.client("cloudformation", **aws_options(stage)), f"{name}-{stage}-service")
        except (CommandError, BotoCoreError, ClientError):
            raise error from None
        raise (CommandError(stopped(stage, name)) if found == "Stopped" else error) from None


def state_of(cloudformation: Any, stack: str) -> str:
    """Give the stack's parameter: Running or Stopped. Raises CommandError if it has no endpoint of its own."""
    parameters = {it["ParameterKey"]: it["ParameterValue"] for it in _described(cloudformation, stack)["Parameters"]}
    if PARAMETER not in parameters:
        raise CommandError(f"The stack {stack} has no endpoint of its own: its model runs on one that existed already.")
    state: str = parameters[PARAMETER]
    return state


def change(cloudformation: Any, stack: str, state: str, *, poll: float = 0.1) -> bool:
    """Set the stack's parameter and wait for the update's end.

    Args:
        cloudformation: boto3's client.
        stack: The service stack's name.
        state: Running or Stopped.
        poll: Seconds between two looks.

    Returns:
        Whether anything had to be changed.

    Raises:
        CommandError: the stack has no endpoint of its own, or the update failed; the message has the reason.

    """
    if state_of(cloudformation, stack) == state:
        return False
    parameters = [it["ParameterKey"] for it in _described(cloudformation, stack)["Parameters"]]
    kept = [{"ParameterKey": key, "UsePreviousValue": True} for key in parameters if key != PARAMETER]
    cloudformation.update_stack(
        StackName=stack,
        UsePreviousTemplate=True,
        Parameters=[*kept, {"ParameterKey": PARAMETER, "ParameterValue": state}],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
    )
    ends = time.monotonic() + _LONGEST_S
    while (status := _described(cloudformation, stack)["StackStatus"]).endswith("_IN_PROGRESS"):
        if time.monotonic() > ends:
            raise CommandError(f"The stack {stack} is still {status}.")
        time.sleep(poll)
    if status != "UPDATE_COMPLETE":
        raise CommandError(f"The stack {stack} is {status}: {_reason(cloudformation, stack)}")
    return True


def _described(cloudformation: Any, stack: str) -> dict[str, Any]:
    described: dict[str, Any] = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    return {"Parameters": [], **described}


def _reason(cloudformation: Any, stack: str) -> str:
    """The first failure of the newest update."""
    reasons = []
    for event in cloudformation.describe_stack_events(StackName=stack)["StackEvents"]:
        if event["ResourceStatus"].endswith("_FAILED"):
            reasons.append(event.get("ResourceStatusReason", ""))
        if event["ResourceStatus"] == "UPDATE_IN_PROGRESS" and event["LogicalResourceId"] == stack:
            break
    return reasons[-1] if reasons else "no reason was given"
