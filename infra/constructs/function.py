"""A Lambda function on the managed Python, with a log group and a role that may write to it."""

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import Annotations, Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.trust import LAMBDA
from infra.environment_size import check_lambda
from infra.nag import accept
from infra.packaging.package import Content, Target, build
from infra.settings.deployment import DEV, Settings
from infra.settings.monitoring import LogRetention

RETENTION: dict[LogRetention, logs.RetentionDays] = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


def add_function(
    scope: Construct,
    *,
    root: Path,
    settings: Settings,
    content: Content,
    handler: str,
    description: str,
    timeout: float,
    environment: Mapping[str, str],
    reserved: int | None = None,
    traced: bool = False,
) -> lambda_.Function:
    """Package and create a function, its role and its log group in a scope.

    Their ids are `Function`, `Role` and `Log`.

    Args:
        scope: The parent of the three.
        root: The repository.
        settings: The deployment's settings.
        content: The package that the function runs from.
        handler: The function that Lambda calls, `module.name`.
        description: The function's and the role's.
        timeout: Seconds.
        environment: The function's variables.
        reserved: The reserved concurrency, in deployments that reserve any. A new account has none
            to reserve.
        traced: Whether X-Ray traces the function.

    Raises:
        SettingsError: the variables are more than Lambda takes.

    """
    check_lambda(environment, handler)
    target = Target(
        python_version=settings.python_version,
        architecture=settings.architecture,
        wheels=settings.wheels,
    )
    package = build(root=root, target=target, content=content)
    if package.bytecode is None:
        # CDK prints a warning of a stack once, even if several functions add it.
        missing = f"No Python {settings.python_version} here to compile the functions' code"
        effect = (
            "they work, but each cold start compiles it and is slower. With "
            f"python{settings.python_version} on the"
        )
        Annotations.of(Stack.of(scope)).add_warning_v2(
            "sluice:no-bytecode", f"{missing}: {effect} PATH it is compiled."
        )
    log_group = logs.LogGroup(
        scope,
        "Log",
        retention=RETENTION[settings.log_retention_days],
        removal_policy=RemovalPolicy.RETAIN if settings.retain else RemovalPolicy.DESTROY,
    )
    role = iam.Role(scope, "Role", assumed_by=iam.ServicePrincipal(LAMBDA), description=description)
    log_group.grant_write(role)
    function = lambda_.Function(
        scope,
        "Function",
        description=description,
        runtime=lambda_.Runtime(f"python{settings.python_version}", lambda_.RuntimeFamily.PYTHON),
        architecture=lambda_.Architecture.ARM_64
        if settings.architecture == "arm64"
        else lambda_.Architecture.X86_64,
        handler=handler,
        code=lambda_.Code.from_asset(str(package.path)),
        memory_size=settings.memory_mb,
        timeout=Duration.seconds(timeout),
        reserved_concurrent_executions=reserved
        if settings.reserved_concurrency is not None
        else None,
        tracing=lambda_.Tracing.ACTIVE if traced else None,
        role=role,
        log_group=log_group,
        logging_format=lambda_.LoggingFormat.JSON,
        environment=dict(environment),
    )
    if traced:
        accept(
            role,
            {"IAM5[Resource::*]": "X-Ray's two actions, which tracing needs, know no resources."},
        )
    if settings.python_version != DEV.python_version:
        accept(scope, {"L1": "The setting python_version names another Python than the newest."})
    return function
