"""A function that takes part in a deployment. Its code is in the stack's template."""

from pathlib import Path

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.trust import LAMBDA

FOLDER = Path(__file__).parents[1] / "functions"


def add_inline_function(
    scope: Construct,
    construct_id: str,
    *,
    module: str,
    description: str,
    timeout: Duration,
    memory_mb: int | None = None,
) -> lambda_.Function:
    """Create a function from the text of `infra/functions/<module>.py`, with a role and a log."""
    role = iam.Role(scope, f"{construct_id}Role", assumed_by=iam.ServicePrincipal(LAMBDA))
    log = logs.LogGroup(
        scope,
        f"{construct_id}Log",
        retention=logs.RetentionDays.ONE_WEEK,
        removal_policy=RemovalPolicy.DESTROY,
    )
    log.grant_write(role)
    return lambda_.Function(
        scope,
        construct_id,
        description=description,
        runtime=lambda_.Runtime.PYTHON_3_14,
        handler="index.handler",
        code=lambda_.Code.from_inline((FOLDER / f"{module}.py").read_text()),
        timeout=timeout,
        memory_size=memory_mb,
        role=role,
        log_group=log,
    )
