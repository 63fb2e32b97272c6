"""A stack's endpoint is running or stopped, as a parameter of the stack says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cli.lib.completions import Unavailable
from cli.lib.project import CommandError
from cli.lib.stack import aws_options

PARAMETER = "EndpointState"


def parameters_of(stack: dict[str, Any]) -> dict[str, str]:
    """Return the parameters of a described stack."""
    return {it["ParameterKey"]: it["ParameterValue"] for it in stack.get("Parameters", [])}


def state_of(cloudformation: Any, stack: str) -> str:
    """Return the endpoint's state: Running or Stopped.

    Raises:
        CommandError: the stack did not make the endpoint that its model runs on.

    """
    [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
    parameters = parameters_of(described)
    if PARAMETER not in parameters:
        raise CommandError(
            f"The endpoint cannot be stopped or started here: the stack {stack} did not make "
            "it, but uses one that "
            "existed already (the setting endpoint_name)."
        )
    return parameters[PARAMETER]


def stopped(stage: str, name: str) -> str:
    """Return the message for a stopped endpoint, with the command that starts it."""
    options = f" --stage {stage}" if stage != "local" else ""
    options += f" --stack-name {name}" if name != "sluice" else ""
    reason = f"The endpoint of {name}-{stage}-service is stopped, so requests get a 503."
    return f"{reason} Start it: `sluice endpoint start{options}`"


@contextmanager
def explained(stage: str, name: str) -> Iterator[None]:
    """Replace `Unavailable` by an error that explains it, if the endpoint is stopped."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except Unavailable as error:
        try:
            state = state_of(
                boto3.client("cloudformation", **aws_options(stage)), f"{name}-{stage}-service"
            )
        except (CommandError, BotoCoreError, ClientError):
            raise error from None
        raise (CommandError(stopped(stage, name)) if state == "Stopped" else error) from None
