"""Whether a stack's endpoint is stopped, and which command changes what an operator has set."""

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from cli.lib.completions import Refused
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
    reason = f"The endpoint of {name}-{stage}-service is stopped, so requests get a 503."
    return f"{reason} Start it: `sluice endpoint start{_options(stage, name)}`"


def _options(stage: str, name: str) -> str:
    options = f" --stage {stage}" if stage != "local" else ""
    return options + (f" --stack-name {name}" if name != "sluice" else "")


@contextmanager
def explained(stage: str, name: str) -> Iterator[None]:
    """Add to a refusal of the API the command that lifts it, if there is one."""
    try:
        yield
    except Refused as error:
        if error.http_status == HTTPStatus.SERVICE_UNAVAILABLE and is_stopped(stage, name):
            raise CommandError(stopped(stage, name)) from None
        advice = _advice(error, stage, _options(stage, name))
        if advice is None:
            raise
        raise CommandError(f"{error} {advice}") from None


def is_stopped(stage: str, name: str) -> bool:
    """Return whether a stage's endpoint is known to be stopped."""
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        cloudformation = boto3.client("cloudformation", **aws_options(stage))
        return state_of(cloudformation, f"{name}-{stage}-service") == "Stopped"
    except (CommandError, BotoCoreError, ClientError):
        return False


def _advice(error: Refused, stage: str, options: str) -> str | None:
    """Return what an operator can do about a refusal; None if it is not an operator's matter."""
    if error.code == "service_stopped":
        return f"To serve again: `sluice stop --undo{options}`"
    if error.code == "monthly_ceiling_reached":
        option = "-c monthly_ceiling=USD"
        deploy = (
            f"sluice up {option}"
            if stage == "local"
            else f'make deploy STAGE={stage} SET="{option}"'
        )
        return (
            f"To raise the ceiling: `{deploy}`; without the option there is none. A change takes up "
            f"to 5 minutes. Then `sluice stop --status{options}` says that requests are served."
        )
    if error.code == "insufficient_quota":
        return (
            f"`sluice keys show KEY{options}` has the key's limits, and `sluice keys update "
            f"KEY{options}` changes them."
        )
    if error.http_status == HTTPStatus.UNAUTHORIZED and stage == "local":
        return "If the local stack's key was revoked or deleted, `sluice up` makes another."
    return None
