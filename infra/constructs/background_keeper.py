"""The function that keeps background answers going, and its schedule."""

from pathlib import Path

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.constructs.alarms import add_alarm, alarm_topics
from infra.constructs.function import add_function
from infra.constructs.request_metrics import deployment_of
from infra.constructs.schedule import add_schedule
from infra.constructs.stream_table import StreamTable
from infra.limits import LIMITS
from infra.nag import accept
from infra.settings.deployment import Settings


class BackgroundKeeper(Construct):
    """A function on a schedule, from the stream function's package.

    It starts answers that wait for capacity, by an invocation of the stream function. It ends those
    whose invocation was lost or killed, and frees their places. With `webhook_url`, it calls the
    webhook when answers end. A failed run is not retried: the next one, a minute later, finds
    everything that it left.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        settings: Settings,
        stream_table: StreamTable,
        stream: lambda_.Alias,
    ) -> None:
        """Package and create the function, its schedule and its alarm.

        `stream` is the alias of the stream function. The service stack grants the rest.
        """
        super().__init__(scope, construct_id)
        self.secret: secretsmanager.Secret | None = None
        """The secret that signs what the webhook is told. None without one."""
        self.function = add_function(
            self,
            root=root,
            settings=settings,
            content="function",
            handler="lambda_fn.background.handler.handler",
            description="Starts and ends background answers",
            timeout=LIMITS.keeper_timeout,
            environment={
                "SLUICE_STREAM_TABLE": stream_table.name,
                "SLUICE_STREAM_FUNCTION": f"{stream.lambda_.function_name}:{stream.alias_name}",
                "SLUICE_DEPLOYMENT": deployment_of(settings),
                **self._webhook(settings),
            },
        )
        if settings.webhook_url is not None:
            # The functions that end answers invoke it. By a reference, each would need the other.
            resource = self.function.node.default_child
            assert isinstance(resource, lambda_.CfnFunction)  # noqa: S101 - it has no other
            resource.function_name = settings.keeper_name
        # mypy takes the None of the line above for all that it can be.
        secret: secretsmanager.Secret | None = self.secret
        if secret is not None:
            secret.grant_read(self.function)
        self.function.add_to_role_policy(
            iam.PolicyStatement(actions=["lambda:InvokeFunction"], resources=[stream.function_arn])
        )
        add_schedule(
            self,
            self.function,
            period=Duration.seconds(LIMITS.keeper_period),
            target="Keeper",
            description="Starts background answers that wait",
        )
        add_alarm(
            Construct(self, "Errors"),
            "Resource",
            description=(
                f"Sluice {settings.name}-{settings.stage}: the keeper of background answers fails: "
                "waiting answers are not started."
            ),
            metric=self.function.metric_errors(period=Duration.minutes(5), statistic="Sum"),
            threshold=2,
            periods=2,
            actions=alarm_topics(settings),
        )

    def _webhook(self, settings: Settings) -> dict[str, str]:
        """Create the secret of the webhook if there is one, and return its variables."""
        if settings.webhook_url is None:
            return {}
        self.secret = secretsmanager.Secret(
            self,
            "Webhook",
            description=f"Sluice {settings.name}-{settings.stage}: signs calls of the webhook",
            # 44 letters and digits are base64 of 33 bytes, which Standard Webhooks asks for.
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True, password_length=44
            ),
            removal_policy=RemovalPolicy.DESTROY,
        )
        accept(
            self.secret,
            {"SMG4": "The receiver must know a new secret first, so the operator changes it."},
        )
        return {
            "SLUICE_WEBHOOK": settings.webhook_url,
            "SLUICE_WEBHOOK_SECRET": self.secret.secret_arn,
            "SLUICE_PRIVATE_WEBHOOK": str(settings.webhook_url.startswith("http:")).lower(),
        }
