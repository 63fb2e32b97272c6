"""`sluice endpoint stop|start`: delete the endpoint to stop paying for it, and create it again.

Instances are paid for while an endpoint exists. So stopping sets a parameter of the stack, and
CloudFormation deletes the endpoint. `cdk deploy` keeps parameters as they are, so a stopped
endpoint stays stopped. The model, its configuration, keys, usage and the API's address stay.
Requests get a 503 until the endpoint is started.
"""

import argparse
import time
from typing import Any

from cli.lib import values
from cli.lib.endpoint_state import PARAMETER, parameters_of, state_of
from cli.lib.project import CommandError
from cli.lib.stack import aws_options, unreadable
from cli.lib.terminal import console, print_json, step

HELP = "Stop paying for the endpoint, and start it again."
# With large weights, the container's start and the download may take an hour each.
_TIMEOUT_S = 9000
_POLL_S = {"local": 0.1}


def add(parser: argparse.ArgumentParser) -> None:
    """Add `stop` and `start`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    texts = {
        "stop": (
            "Delete the endpoint, which ends its bill. Everything else stays; deployments leave "
            "it stopped."
        ),
        "start": "Create the endpoint again, and wait until it serves.",
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text)
        values.add_stage(command, default="local")
        values.add_stack_name(command)
        command.add_argument("--json", action="store_true", help="print the result as JSON")
        command.set_defaults(run=stop if name == "stop" else start)


def stop(args: argparse.Namespace) -> None:
    """Delete the endpoint of a stage."""
    _set(args, "Stopped", "Stopping the endpoint")


def start(args: argparse.Namespace) -> None:
    """Create the endpoint of a stage again and wait until it serves."""
    _set(args, "Running", "Starting the endpoint (minutes, with large weights)")


def _set(args: argparse.Namespace, state: str, title: str) -> None:
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    stage, stack = args.stage, f"{args.stack_name}-{args.stage}-service"
    poll = _POLL_S.get(stage, 5.0)
    try:
        client = boto3.client("cloudformation", **aws_options(stage))
        if args.json:
            changed = change(client, stack, state, poll=poll)
            print_json({"stack": stack, "state": state, "changed": changed})
        elif state_of(client, stack) == state:
            console.print(f"The endpoint of {stack} is {state.lower()} already.")
        else:
            with step(title):
                change(client, stack, state, poll=poll)
    except (BotoCoreError, ClientError) as error:
        raise unreadable(stack, stage, error) from None


def change(cloudformation: Any, stack: str, state: str, *, poll: float = 0.1) -> bool:
    """Set the stack's parameter and wait until the update ends.

    Args:
        cloudformation: boto3's client.
        stack: The service stack's name.
        state: Running or Stopped.
        poll: Seconds between two polls of the stack's status.

    Returns:
        Whether anything had to be changed.

    Raises:
        CommandError: the stack did not make its endpoint, or the update failed; the message has the
            reason.

    """
    if state_of(cloudformation, stack) == state:
        return False
    unchanged = [
        {"ParameterKey": key, "UsePreviousValue": True}
        for key in parameters_of(_described(cloudformation, stack))
        if key != PARAMETER
    ]
    cloudformation.update_stack(
        StackName=stack,
        UsePreviousTemplate=True,
        Parameters=[*unchanged, {"ParameterKey": PARAMETER, "ParameterValue": state}],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_NAMED_IAM"],
    )
    deadline = time.monotonic() + _TIMEOUT_S
    while (status := _described(cloudformation, stack)["StackStatus"]).endswith("_IN_PROGRESS"):
        if time.monotonic() > deadline:
            raise CommandError(
                f"The stack {stack} is still {status} after {_TIMEOUT_S / 3600:g} hours. "
                "CloudFormation goes on with "
                "it; its events say what it waits for."
            )
        time.sleep(poll)
    if status != "UPDATE_COMPLETE":
        raise CommandError(f"The stack {stack} is {status}: {_reason(cloudformation, stack)}")
    return True


def _described(cloudformation: Any, stack: str) -> dict[str, Any]:
    [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    return dict(described)


def _reason(cloudformation: Any, stack: str) -> str:
    """Return the reason of the newest update's first failure."""
    reasons = []
    for event in cloudformation.describe_stack_events(StackName=stack)["StackEvents"]:
        if event["ResourceStatus"].endswith("_FAILED"):
            reasons.append(event.get("ResourceStatusReason", ""))
        if event["ResourceStatus"] == "UPDATE_IN_PROGRESS" and event["LogicalResourceId"] == stack:
            break
    return reasons[-1] if reasons else "CloudFormation gave no reason"
