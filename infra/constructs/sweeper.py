"""The sweeper: settles what a killed function left open, makes the rollups, and says when something is wrong."""

from pathlib import Path

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.constructs.function import add_function
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.settings.deployment import Settings

NAMESPACE = "Sluice"
"""Of the sweeper's own metric `Recovered`: requests, with the dimension `Deployment`, in the embedded metric format."""


class Sweeper(Construct):
    """A function on a schedule, from the stream function's package.

    A run that failed is not repeated, and its event is not kept: the next one, minutes later, finds all that the failed
    one left, and repeating a sweep changes nothing. What must be noticed is that runs fail or stay away, by alarms.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, root: Path, settings: Settings, usage_table: UsageTable
    ) -> None:
        """Package and create the function, its schedule and its alarms; grant it nothing."""
        super().__init__(scope, construct_id)
        self._deployment = f"{settings.name}-{settings.stage}"
        self._topic = settings.alarm_topic
        self.function = add_function(
            self,
            root=root,
            settings=settings,
            content="function",
            handler="lambda_fn.sweep.handler.handler",
            description="Settles what was left open, and makes the rollups",
            timeout=LIMITS.sweep_timeout,
            reserved=1,  # two at once would do the same work twice
            environment={
                "SLUICE_USAGE_TABLE": usage_table.table.table_name,
                "SLUICE_DEPLOYMENT": self._deployment,
                "SLUICE_OVERDUE_SECONDS": str(settings.overdue_seconds),
            },
        )
        period = Duration.seconds(LIMITS.sweep_period)
        self.function.configure_async_invoke(retry_attempts=0, max_event_age=period)
        # Not the L2's target: it names its permission by the stack, and stages are to differ in settings only.
        retry = events.CfnRule.RetryPolicyProperty(
            maximum_retry_attempts=0, maximum_event_age_in_seconds=period.to_seconds()
        )
        rule = events.CfnRule(
            self,
            "Schedule",
            description="Sweeps the usage table",
            schedule_expression=events.Schedule.rate(period).expression_string,
            state="ENABLED",
            targets=[events.CfnRule.TargetProperty(arn=self.function.function_arn, id="Sweeper", retry_policy=retry)],
        )
        self.function.add_permission(
            "Schedule", principal=iam.ServicePrincipal("events.amazonaws.com"), source_arn=rule.attr_arn
        )
        self._add_alarms(period, settings.recovered_alarm)

    def _add_alarms(self, period: Duration, recovered: int) -> None:
        self._alarm(
            "Recovered",
            "More requests than usual were left open by the stream function, and settled by the sweeper: look for "
            "killed functions, or for DynamoDB not answering.",
            cloudwatch.Metric(
                namespace=NAMESPACE,
                metric_name="Recovered",
                dimensions_map={"Deployment": self._deployment},
                statistic="Sum",
                period=period,
            ),
            threshold=recovered,
        )
        self._alarm(
            "Failing",
            "Sweeps fail one after the other: what was left open is not settled, and usage reports stand still.",
            self.function.metric_errors(period=period, statistic="Sum"),
            threshold=1,
            times=2,
        )
        self._alarm(
            "Silent",
            "The sweeper has not run: what was left open is not settled, and usage reports stand still.",
            self.function.metric_invocations(period=Duration.seconds(3 * LIMITS.sweep_period), statistic="Sum"),
            threshold=1,
            below=True,
        )

    def _alarm(
        self,
        construct_id: str,
        description: str,
        metric: cloudwatch.Metric,
        *,
        threshold: int,
        times: int = 1,
        below: bool = False,
    ) -> None:
        operators = cloudwatch.ComparisonOperator
        missing = cloudwatch.TreatMissingData
        alarm = cloudwatch.Alarm(
            self,
            construct_id,
            alarm_description=f"Sluice {self._deployment}: {description}",
            metric=metric,
            threshold=threshold,
            evaluation_periods=times,
            comparison_operator=operators.LESS_THAN_THRESHOLD
            if below
            else operators.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=missing.BREACHING if below else missing.NOT_BREACHING,
        )
        if self._topic is not None:
            topic = Stack.of(self).node.try_find_child("Alarms") or sns.Topic.from_topic_arn(
                Stack.of(self), "Alarms", self._topic
            )
            alarm.add_alarm_action(cloudwatch_actions.SnsAction(topic))  # type: ignore[arg-type]  # found by its name
