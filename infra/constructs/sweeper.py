"""The sweeper's function, its schedule and its alarms.

Alarms tell when sweeps fail, do not run, or settle many requests.
"""

from pathlib import Path

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.alarms import add_alarm, alarm_topics
from infra.constructs.function import add_function
from infra.constructs.request_metrics import deployment_of, metric
from infra.constructs.schedule import add_schedule
from infra.constructs.stream_table import StreamTable
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.nag import accept
from infra.settings.deployment import Settings

CONCURRENCY = 1
"""Two sweepers at once would do the same work."""


def _budgets(settings: Settings) -> dict[str, str]:
    """Return the variables of the ceiling, and of the topic that alerts go to."""
    found = {}
    if settings.monthly_ceiling is not None:
        found["SLUICE_MONTHLY_CEILING"] = str(round(settings.monthly_ceiling * 1e9))
    if settings.alarm_topic is not None:
        found["SLUICE_ALERT_TOPIC"] = settings.alarm_topic
    return found


class Sweeper(Construct):
    """A function on a schedule, from the stream function's package.

    A failed run is not retried, and its event is not kept: the next run, minutes later, finds
    everything that the failed one left. Alarms tell when runs fail or do not take place.
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
    ) -> None:
        """Package and create the function, its schedule and its alarms.

        The service stack grants its rights.
        """
        super().__init__(scope, construct_id)
        self.function = add_function(
            self,
            root=root,
            settings=settings,
            content="function",
            handler="lambda_fn.sweep.handler.handler",
            description="Settles what was left open, and makes the rollups",
            timeout=LIMITS.sweep_timeout,
            reserved=CONCURRENCY,
            environment={
                "SLUICE_USAGE_TABLE": usage_table.name,
                "SLUICE_DEPLOYMENT": deployment_of(settings),
                "SLUICE_OVERDUE_SECONDS": str(settings.overdue_seconds),
                **({} if stream_table is None else {"SLUICE_STREAM_TABLE": stream_table.name}),
                **_budgets(settings),
                **({"SLUICE_KEY_METRICS": "true"} if settings.key_figures == "otlp" else {}),
            },
        )
        if settings.key_figures == "otlp":
            self.function.add_to_role_policy(
                iam.PolicyStatement(actions=["cloudwatch:PutMetricData"], resources=["*"])
            )
            reason = "cloudwatch:PutMetricData knows no resources, and OTLP no namespaces."
            accept(self, {"IAM5[Resource::*]": reason})
        if settings.alarm_topic is not None:
            self.function.add_to_role_policy(
                iam.PolicyStatement(actions=["sns:Publish"], resources=[settings.alarm_topic])
            )
        period = Duration.seconds(LIMITS.sweep_period)
        add_schedule(
            self,
            self.function,
            period=period,
            target="Sweeper",
            description="Sweeps the usage table",
        )
        recovered = metric(settings, "Recovered", seconds=int(LIMITS.sweep_period))
        self._add_alarm(
            "Recovered",
            settings,
            "Requests were left open by the stream function, and settled by the sweeper: look for "
            "killed functions, or for DynamoDB not answering.",
            recovered,
            threshold=settings.recovered_alarm,
        )
        self._add_alarm(
            "Failing",
            settings,
            (
                "Sweeps fail one after the other: what was left open is not settled, and usage "
                "reports stand still."
            ),
            self.function.metric_errors(period=period, statistic="Sum"),
            periods=2,
        )
        self._add_alarm(
            "Silent",
            settings,
            (
                "The sweeper has not run: what was left open is not settled, and usage reports "
                "stand still."
            ),
            self.function.metric_invocations(
                period=Duration.seconds(3 * LIMITS.sweep_period), statistic="Sum"
            ),
            below=True,
        )

    def _add_alarm(
        self,
        construct_id: str,
        settings: Settings,
        description: str,
        metric: cloudwatch.Metric,
        *,
        threshold: int = 1,
        periods: int = 1,
        below: bool = False,
    ) -> None:
        add_alarm(
            Construct(self, construct_id),
            "Resource",
            description=f"Sluice {settings.name}-{settings.stage}: {description}",
            metric=metric,
            threshold=threshold,
            periods=periods,
            below=below,
            actions=alarm_topics(settings),
        )
