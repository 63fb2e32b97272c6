"""The stream function: the package, its role, its log, its URL."""

import json
from pathlib import Path

from aws_cdk import Annotations, Duration, RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.model_endpoint import ModelEndpoint
from infra.constructs.origin_secret import OriginSecret
from infra.limits import LIMITS
from infra.nag import accept
from infra.package import Target, build
from infra.settings import LogRetention, Settings

RETENTION: dict[LogRetention, logs.RetentionDays] = {
    1: logs.RetentionDays.ONE_DAY,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    90: logs.RetentionDays.THREE_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
}


class StreamFunction(Construct):
    """A Python function with a runtime of its own behind a streaming function URL.

    The managed Python runtime cannot stream, so the exec wrapper puts ours in its place. The URL takes any caller,
    because IAM would make every client sign its requests; the function refuses those without the origin secret.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        settings: Settings,
        usage_table: dynamodb.ITableV2,
        endpoint: ModelEndpoint,
        secret: OriginSecret,
    ) -> None:
        """Package and create the function; grant it nothing."""
        super().__init__(scope, construct_id)
        target = Target(
            python_version=settings.python_version, architecture=settings.architecture, wheels=settings.wheels
        )
        package = build(root=root, target=target)
        if package.bytecode is None:
            missing = f"No Python {settings.python_version} here to compile the function's package"
            Annotations.of(self).add_warning_v2("sluice:no-bytecode", f"{missing}: its cold starts will be slower.")
        log_group = logs.LogGroup(
            self,
            "Log",
            retention=RETENTION[settings.log_retention_days],
            removal_policy=RemovalPolicy.RETAIN if settings.retain else RemovalPolicy.DESTROY,
        )
        role = iam.Role(
            self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"), description="Sluice stream function"
        )
        log_group.grant_write(role)
        self.function = lambda_.Function(
            self,
            "Function",
            description="Streams a model's answer as it is sampled",
            runtime=lambda_.Runtime(f"python{settings.python_version}", lambda_.RuntimeFamily.PYTHON),
            architecture=lambda_.Architecture.ARM_64
            if settings.architecture == "arm64"
            else lambda_.Architecture.X86_64,
            handler="lambda_fn.main.handler",
            code=lambda_.Code.from_asset(str(package.path)),
            memory_size=settings.memory_mb,
            timeout=Duration.seconds(LIMITS.lambda_timeout),
            reserved_concurrent_executions=settings.reserved_concurrency,
            tracing=lambda_.Tracing.ACTIVE,
            role=role,
            log_group=log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            environment={
                "AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap",
                "SLUICE_MODELS": json.dumps(
                    {
                        settings.model_name: {
                            "endpoint": endpoint.endpoint_name,
                            "context_tokens": settings.context_tokens,
                        }
                    }
                ),
                "SLUICE_USAGE_TABLE": usage_table.table_name,
                "SLUICE_ORIGIN_SECRET": secret.current,
                "SLUICE_ORIGIN_SECRET_PREVIOUS": secret.previous,
            },
        )
        self.url = self.function.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType.NONE,
            invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM,
        )
        accept(role, {"IAM5[Resource::*]": "X-Ray's two actions, which tracing needs, know no resources."})
        if settings.wheels == "host":
            accept(self, {"L1": "The local cloud runs the function on the Python of its machine."})
