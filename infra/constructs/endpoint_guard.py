"""How an endpoint is changed: to new instances beside the old, a part of the requests first, and back if it fails.

SageMaker watches the alarms while it shifts requests, and returns to the old instances when one rings.
"""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra.settings.deployment import Settings

TERMINATION_SECONDS = 300
"""The old instances stay for so long after the last shift: streams that they have begun may take eight minutes at
most, and nearly all take less."""
_MOST_SECONDS = 28_800
FAILURES = {"Invocation5XXErrors": 5, "InvocationModelErrors": 10}
"""Metrics of SageMaker, and how many a minute, two minutes in a row, are too many."""


class EndpointGuard(Construct):
    """The alarms, and the deployment configurations that name them."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, dimensions: dict[str, str]) -> None:
        """Create the alarms over the metrics of `dimensions`."""
        super().__init__(scope, construct_id)
        self._settings = settings
        self.alarms = [
            cloudwatch.Alarm(
                self,
                metric,
                alarm_description=f"The model's endpoint has {metric}: a deployment under way is rolled back",
                metric=cloudwatch.Metric(
                    namespace="AWS/SageMaker",
                    metric_name=metric,
                    dimensions_map=dimensions,
                    statistic="Sum",
                    period=Duration.minutes(1),
                ),
                threshold=threshold,
                evaluation_periods=2,
                comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
                treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            )
            for metric, threshold in FAILURES.items()
        ]
        if settings.alarm_topic is not None:
            topic = sns.Topic.from_topic_arn(self, "Alarms", settings.alarm_topic)
            for alarm in self.alarms:
                alarm.add_alarm_action(actions.SnsAction(topic))

    @property
    def of_endpoint(self) -> sagemaker.CfnEndpoint.DeploymentConfigProperty:
        """Blue/green: one canary instance first, where there are several."""
        settings = self._settings
        canary = settings.instance_count > 1 and settings.canary_seconds > 0
        routing = sagemaker.CfnEndpoint.TrafficRoutingConfigProperty(
            type="CANARY" if canary else "ALL_AT_ONCE",
            canary_size=sagemaker.CfnEndpoint.CapacitySizeProperty(type="INSTANCE_COUNT", value=1) if canary else None,
            wait_interval_in_seconds=settings.canary_seconds,
        )
        return sagemaker.CfnEndpoint.DeploymentConfigProperty(
            blue_green_update_policy=sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty(
                traffic_routing_configuration=routing,
                termination_wait_in_seconds=TERMINATION_SECONDS,
                maximum_execution_timeout_in_seconds=self._longest,
            ),
            auto_rollback_configuration=sagemaker.CfnEndpoint.AutoRollbackConfigProperty(
                alarms=[sagemaker.CfnEndpoint.AlarmProperty(alarm_name=alarm.alarm_name) for alarm in self.alarms]
            ),
        )

    @property
    def of_component(self) -> sagemaker.CfnInferenceComponent.InferenceComponentDeploymentConfigProperty:
        """An inference component is changed copy by copy: it has no blue/green."""
        component = sagemaker.CfnInferenceComponent
        return component.InferenceComponentDeploymentConfigProperty(
            rolling_update_policy=component.InferenceComponentRollingUpdatePolicyProperty(
                maximum_batch_size=component.InferenceComponentCapacitySizeProperty(type="COPY_COUNT", value=1),
                wait_interval_in_seconds=self._settings.canary_seconds,
                maximum_execution_timeout_in_seconds=self._longest,
            ),
            auto_rollback_configuration=component.AutoRollbackConfigurationProperty(
                alarms=[component.AlarmProperty(alarm_name=alarm.alarm_name) for alarm in self.alarms]
            ),
        )

    @property
    def _longest(self) -> int:
        settings = self._settings
        starting = settings.startup_seconds + settings.download_seconds
        return min(_MOST_SECONDS, starting + settings.canary_seconds * 2 + TERMINATION_SECONDS + 1800)
