"""The stream function: its environment and its URL."""

import json
from pathlib import Path

from aws_cdk import ArnFormat, Duration, SecretValue, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.function import add_function
from infra.constructs.model_endpoint import ModelEndpoint
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.release import ALIAS, Release
from infra.constructs.request_metrics import deployment_of
from infra.constructs.stream_table import StreamTable, stream_environment
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.packaging.package import Content
from infra.settings.deployment import Settings


class StreamFunction(Construct):
    """A Python function with our runtime, behind a streaming function URL.

    The managed Python runtime cannot stream, so the exec wrapper replaces it with ours. The URL
    accepts any caller, because with IAM every client would have to sign its requests. The function
    rejects callers without the origin secret.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        settings: Settings,
        usage_table: UsageTable,
        stream_table: StreamTable | None,
        endpoint: ModelEndpoint,
        secret: OriginSecret,
    ) -> None:
        """Package and create the function. The service stack grants its rights."""
        super().__init__(scope, construct_id)
        self.function = add_function(
            self,
            root=root,
            settings=settings,
            content=answering_content(settings),
            # The exec wrapper starts this module as a program.
            handler="lambda_fn.stream.main.run",
            description="Streams a model's answer as it is sampled",
            timeout=LIMITS.lambda_timeout,
            reserved=settings.reserved_concurrency,
            traced=True,
            environment={
                **public_environment(self, settings, usage_table, stream_table, endpoint),
                **answering_environment(settings),
                **secret.variables,
            },
        )
        grant_answering(self.function, settings)
        self.release = Release(
            self, "Release", function=self.function, settings=settings, what="stream function"
        )
        self.url = self.release.alias.add_function_url(
            auth_type=lambda_.FunctionUrlAuthType.NONE,
            invoke_mode=lambda_.InvokeMode.RESPONSE_STREAM,
        )
        if stream_table is not None:
            # An event that comes later, or again, finds that its answer has ended or runs.
            self.release.alias.configure_async_invoke(
                retry_attempts=0, max_event_age=Duration.seconds(LIMITS.queued_time)
            )
        if stream_table is not None:
            self._grant_invocations(settings)

    def _grant_invocations(self, settings: Settings) -> None:
        """Grant the function to invoke itself and the keeper, if the settings need that."""
        role = self.function.role
        assert role is not None  # noqa: S101 - `add_function` gives it one
        invoked = [self.release.alias.function_arn] if settings.background == "invoke" else []
        if settings.webhook_url is not None:
            invoked.append(keeper_arn(self, settings))
        if invoked:
            # The role's own policy comes before the function, and the alias after it.
            iam.Policy(
                self,
                "Invocations",
                statements=[
                    iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=invoked)
                ],
                roles=[role],
            )


def keeper_arn(scope: Construct, settings: Settings) -> str:
    """Return the ARN of the keeper of background answers, by its name.

    A reference would be a circle: the keeper invokes the stream function.
    """
    return Stack.of(scope).format_arn(
        service="lambda",
        resource="function",
        resource_name=settings.keeper_name,
        arn_format=ArnFormat.COLON_RESOURCE_NAME,
    )


def _background(settings: Settings) -> str:
    return json.dumps(
        {
            **({"tells": settings.keeper_name} if settings.webhook_url else {}),
            "per_key": settings.background_per_key,
            "at_once": settings.background_runs,
            "wait_hours": settings.background_wait_hours,
            "invoke": settings.background == "invoke",
            "alias": ALIAS,
        }
    )


def grant_answering(function: lambda_.Function, settings: Settings) -> None:
    """Grant a function what traces and the guardrail need, if the settings have them."""
    if settings.traces == "cloudwatch":
        # These actions know no resources.
        function.add_to_role_policy(
            iam.PolicyStatement(
                actions=["xray:PutSpans", "xray:PutSpansForIndexing"], resources=["*"]
            )
        )
    if settings.guardrail is not None:
        function.add_to_role_policy(
            iam.PolicyStatement(
                actions=["bedrock:ApplyGuardrail"],
                resources=[
                    Stack.of(function).format_arn(
                        service="bedrock",
                        resource="guardrail",
                        resource_name=settings.guardrail.partition(":")[0],
                    )
                ],
            )
        )


def answering_content(settings: Settings) -> Content:
    """Return the package of the functions that answer requests."""
    return "uvloop" if settings.event_loop == "uvloop" else "function"


def answering_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that functions have which answer requests."""
    return {
        "SLUICE_EVENT_LOOP": settings.event_loop,
        "SLUICE_METER_OPEN": str(settings.meter_open).lower(),
        "SLUICE_STRICT": str(settings.strict).lower(),
        "SLUICE_LOOSE_TOOL_HISTORY": str(settings.loose_tool_history).lower(),
        "SLUICE_ON_CUT": settings.on_cut,
        "SLUICE_FALLBACKS": json.dumps(dict(settings.fallbacks)),
        "SLUICE_REDACTION": json.dumps(settings.redaction),
        "SLUICE_MODERATION": json.dumps(settings.moderation),
        **_trace_environment(settings),
    }


def _trace_environment(settings: Settings) -> dict[str, str]:
    """Return the variables that say where spans go. Without traces there are none."""
    if settings.traces is None:
        return {}
    found = {"SLUICE_TRACES": settings.traces, "SLUICE_TRACE_RATIO": str(settings.trace_ratio)}
    if settings.trace_callers:
        found["SLUICE_TRACE_CALLERS"] = "true"
    if settings.trace_secret is not None:
        value = SecretValue.secrets_manager(settings.trace_secret)
        found["SLUICE_TRACE_AUTHORIZATION"] = value.unsafe_unwrap()  # a dynamic reference
    return found


def _kept(settings: Settings) -> dict[str, str]:
    return {
        "SLUICE_BACKGROUND": _background(settings),
        "SLUICE_RECALL_PER_KEY": str(settings.readers_per_key),
    }


def public_environment(
    scope: Construct,
    settings: Settings,
    usage_table: UsageTable,
    stream_table: StreamTable | None,
    endpoint: ModelEndpoint,
) -> dict[str, str]:
    """Return the variables that all functions of the public API have."""
    return {
        "AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap",
        "SLUICE_MODELS": json.dumps({settings.model_name: endpoint.invocation, **settings.others}),
        "SLUICE_USAGE_TABLE": usage_table.name,
        "SLUICE_OVERDUE_SECONDS": str(settings.overdue_seconds),
        "SLUICE_HEARTBEAT_SECONDS": str(settings.heartbeat_seconds),
        "SLUICE_ONE_CONNECTION": str(settings.one_connection).lower(),
        "SLUICE_DEPLOYMENT": deployment_of(settings),
        "SLUICE_METRICS": str(settings.metrics).lower(),
        "SLUICE_STACK": Stack.of(scope).stack_id,
        "SLUICE_CORS_ORIGINS": " ".join(settings.cors_origins),
        "SLUICE_ALIASES": json.dumps(dict(settings.aliases)),
        **stream_environment(settings, stream_table),
        **({} if stream_table is None else _kept(settings)),
    }
