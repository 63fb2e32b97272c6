"""How an endpoint is updated, and when the update is rolled back.

New instances start beside the old ones and get some of the requests first. SageMaker watches the
alarms while it shifts requests, and returns to the old instances when one rises.
"""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.constructs.alarms import add_alarm, alarm_topics
from infra.settings.deployment import Settings

TERMINATION_SECONDS = 300
"""How many seconds the old instances stay after the last shift.

Streams that began on them take at most eight minutes. Nearly all take less than this.
"""
_MAX_SECONDS = 28_800
FAILURES = {"Invocation5XXErrors": 5, "InvocationModelErrors": 10}
"""SageMaker's metrics of failures, each with its threshold.

A deployment is rolled back if a metric reaches its threshold in two minutes in a row.
"""


class EndpointGuard(Construct):
    """The alarms, and the deployment configurations that name them."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, dimensions: dict[str, str]
    ) -> None:
        """Create the alarms over the metrics with these dimensions."""
        super().__init__(scope, construct_id)
        self._settings = settings
        self._alarms = [
            add_alarm(
                Construct(self, metric),
                "Resource",
                description=f"The model's endpoint has {metric}: a deployment under way is rolled back",
                metric=cloudwatch.Metric(
                    namespace="AWS/SageMaker",
                    metric_name=metric,
                    dimensions_map=dimensions,
                    statistic="Sum",
                    period=Duration.minutes(1),
                ),
                threshold=threshold,
                periods=2,
                actions=alarm_topics(settings),
            )
            for metric, threshold in FAILURES.items()
        ]

    @property
    def of_endpoint(self) -> sagemaker.CfnEndpoint.DeploymentConfigProperty:
        """The deployment is blue/green. If there are several instances, one gets requests first."""
        settings = self._settings
        canary = settings.instance_count > 1 and settings.canary_seconds > 0
        routing = sagemaker.CfnEndpoint.TrafficRoutingConfigProperty(
            type="CANARY" if canary else "ALL_AT_ONCE",
            canary_size=sagemaker.CfnEndpoint.CapacitySizeProperty(type="INSTANCE_COUNT", value=1)
            if canary
            else None,
            wait_interval_in_seconds=settings.canary_seconds,
        )
        return sagemaker.CfnEndpoint.DeploymentConfigProperty(
            blue_green_update_policy=sagemaker.CfnEndpoint.BlueGreenUpdatePolicyProperty(
                traffic_routing_configuration=routing,
                termination_wait_in_seconds=TERMINATION_SECONDS,
                maximum_execution_timeout_in_seconds=self._timeout,
            ),
            auto_rollback_configuration=sagemaker.CfnEndpoint.AutoRollbackConfigProperty(
                alarms=[
                    sagemaker.CfnEndpoint.AlarmProperty(alarm_name=alarm.ref)
                    for alarm in self._alarms
                ]
            ),
        )

    @property
    def of_component(
        self,
    ) -> sagemaker.CfnInferenceComponent.InferenceComponentDeploymentConfigProperty:
        """The inference component is updated copy by copy. SageMaker has no blue/green for it."""
        component = sagemaker.CfnInferenceComponent
        return component.InferenceComponentDeploymentConfigProperty(
            rolling_update_policy=component.InferenceComponentRollingUpdatePolicyProperty(
                maximum_batch_size=component.InferenceComponentCapacitySizeProperty(
                    type="COPY_COUNT", value=1
                ),
                wait_interval_in_seconds=self._settings.canary_seconds,
                maximum_execution_timeout_in_seconds=self._timeout,
            ),
            auto_rollback_configuration=component.AutoRollbackConfigurationProperty(
                alarms=[component.AlarmProperty(alarm_name=alarm.ref) for alarm in self._alarms]
            ),
        )

    @property
    def _timeout(self) -> int:
        settings = self._settings
        starting = settings.startup_seconds + settings.download_seconds
        return min(
            _MAX_SECONDS, starting + settings.canary_seconds * 2 + TERMINATION_SECONDS + 1800
        )
