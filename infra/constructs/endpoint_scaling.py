"""Scaling by the number of running requests.

SageMaker sends the high-resolution metric every ten seconds. The number of requests a minute would
not do: a stream takes between a second and eight minutes.
"""

from aws_cdk import CfnCondition, Duration
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct, IDependable

from infra.constructs.alarms import add_alarm
from infra.settings.deployment import Settings

_NAMESPACE = "sagemaker"
SCALE_OUT_SECONDS = 60
WAKE = "NoCapacityInvocationFailures"
"""The metric that counts the requests that found no copy of the model."""


class EndpointScaling(Construct):
    """Scaling of a variant's instances, or of an inference component's copies.

    Copies may go down to zero.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        endpoint_name: str,
        variant: str,
        component: str | None,
        running: CfnCondition,
        after: IDependable,
    ) -> None:
        """Register the target and its policies.

        They exist while the condition `running` holds, and are made `after` that resource.
        """
        super().__init__(scope, construct_id)
        self._settings = settings
        if component is None:
            resource, dimension = (
                f"endpoint/{endpoint_name}/variant/{variant}",
                "variant:DesiredInstanceCount",
            )
            metric = "SageMakerVariantConcurrentRequestsPerModelHighResolution"
        else:
            resource, dimension = (
                f"inference-component/{component}",
                "inference-component:DesiredCopyCount",
            )
            metric = "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
        self._target = scaling.CfnScalableTarget(
            self,
            "Target",
            service_namespace=_NAMESPACE,
            resource_id=resource,
            scalable_dimension=f"{_NAMESPACE}:{dimension}",
            min_capacity=0 if settings.scale_to_zero else settings.instance_count,
            max_capacity=settings.peak_instances,
            scheduled_actions=self._plans() or None,
        )
        self._target.cfn_options.condition = running
        self._target.node.add_dependency(after)
        policy = scaling.CfnScalingPolicy(
            self,
            "Requests",
            policy_name=f"{endpoint_name}-requests",
            policy_type="TargetTrackingScaling",
            scaling_target_id=self._target.ref,
            target_tracking_scaling_policy_configuration=(
                scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
                    predefined_metric_specification=scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty(
                        predefined_metric_type=metric
                    ),
                    target_value=settings.requests_per_instance
                    or max(1, settings.parallel * 3 // 4),
                    scale_in_cooldown=settings.scale_in_seconds,
                    scale_out_cooldown=SCALE_OUT_SECONDS,
                )
            ),
        )
        policy.cfn_options.condition = running
        if component is not None:
            self._wake(endpoint_name, component, running)

    def _plans(self) -> list[scaling.CfnScalableTarget.ScheduledActionProperty]:
        return [
            scaling.CfnScalableTarget.ScheduledActionProperty(
                scheduled_action_name=f"plan-{number}",
                schedule=plan.when,
                timezone=self._settings.schedule_timezone,
                scalable_target_action=scaling.CfnScalableTarget.ScalableTargetActionProperty(
                    min_capacity=plan.minimum, max_capacity=plan.maximum
                ),
            )
            for number, plan in enumerate(self._settings.plans, 1)
        ]

    def _wake(self, endpoint_name: str, component: str, running: CfnCondition) -> None:
        """Scale from zero to one when requests fail for lack of a copy.

        Without copies there is no load to track, so this needs a step policy.
        """
        step = scaling.CfnScalingPolicy(
            self,
            "Wake",
            policy_name=f"{endpoint_name}-wake",
            policy_type="StepScaling",
            scaling_target_id=self._target.ref,
            step_scaling_policy_configuration=scaling.CfnScalingPolicy.StepScalingPolicyConfigurationProperty(
                adjustment_type="ChangeInCapacity",
                metric_aggregation_type="Maximum",
                cooldown=SCALE_OUT_SECONDS,
                step_adjustments=[
                    scaling.CfnScalingPolicy.StepAdjustmentProperty(
                        metric_interval_lower_bound=0, scaling_adjustment=1
                    )
                ],
            ),
        )
        step.cfn_options.condition = running
        alarm = add_alarm(
            self,
            "Waiting",
            description="A request found the model scaled to zero: start one",
            metric=cloudwatch.Metric(
                namespace="AWS/SageMaker",
                metric_name=WAKE,
                dimensions_map={"InferenceComponentName": component},
                statistic="Maximum",
                period=Duration.seconds(30),
            ),
            threshold=1,
            actions=[step.ref],
        )
        alarm.datapoints_to_alarm = 1
        alarm.treat_missing_data = "missing"
        alarm.cfn_options.condition = running


def managed(settings: Settings) -> sagemaker.CfnEndpointConfig.ManagedInstanceScalingProperty:
    """Return the setting that lets SageMaker start and stop the instances that copies need."""
    return sagemaker.CfnEndpointConfig.ManagedInstanceScalingProperty(
        status="ENABLED", min_instance_count=0, max_instance_count=settings.peak_instances
    )
