"""Scaling of an endpoint."""

from tests.support.synthesis import Synthesis, policies, resource


def test_from_zero_a_failed_request_starts_the_first_copy(to_zero: Synthesis) -> None:
    """Copies follow the running requests down to none.

    A step policy starts the first copy when a request found none.
    """
    target = to_zero.the("AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (0, 1)
    assert target["ResourceId"] == "inference-component/sluice-dev-model"
    assert target["ScalableDimension"] == "sagemaker:inference-component:DesiredCopyCount"
    tracking = policies(to_zero)["TargetTrackingScaling"][
        "TargetTrackingScalingPolicyConfiguration"
    ]
    metric = tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]
    assert metric == "SageMakerInferenceComponentConcurrentRequestsPerCopyHighResolution"
    step = policies(to_zero)["StepScaling"]["StepScalingPolicyConfiguration"]
    assert step["AdjustmentType"] == "ChangeInCapacity"
    assert step["StepAdjustments"] == [{"MetricIntervalLowerBound": 0, "ScalingAdjustment": 1}]
    (alarm,) = [
        it["Properties"]
        for it in to_zero.resources("AWS::CloudWatch::Alarm")
        if it["Properties"].get("MetricName") == "NoCapacityInvocationFailures"
    ]
    assert alarm["Dimensions"] == [{"Name": "InferenceComponentName", "Value": "sluice-dev-model"}]
    (action,) = alarm["AlarmActions"]
    assert to_zero.service["Resources"][action["Ref"]]["Properties"]["PolicyType"] == "StepScaling"


def test_instances_follow_the_requests_under_way(scaled: Synthesis) -> None:
    """Instances follow the high-resolution metric of running requests.

    The target is three quarters of an instance's parallel requests. Scaling in is slow, scaling out
    quick.
    """
    target = scaled.the("AWS::ApplicationAutoScaling::ScalableTarget")
    assert (target["MinCapacity"], target["MaxCapacity"]) == (2, 8)
    assert target["ResourceId"] == "endpoint/sluice-prod/variant/primary"
    tracking = policies(scaled)["TargetTrackingScaling"]["TargetTrackingScalingPolicyConfiguration"]
    metric = tracking["PredefinedMetricSpecification"]["PredefinedMetricType"]
    assert metric == "SageMakerVariantConcurrentRequestsPerModelHighResolution"
    assert (tracking["TargetValue"], tracking["ScaleInCooldown"], tracking["ScaleOutCooldown"]) == (
        12,
        600,
        60,
    )
    assert scaled.the("AWS::SageMaker::Endpoint")["RetainAllVariantProperties"] is True
    for kind in ("ScalableTarget", "ScalingPolicy"):  # scaling exists only while the endpoint does
        assert (
            resource(scaled, f"AWS::ApplicationAutoScaling::{kind}")["Condition"] == "EndpointRuns"
        )


def test_scaling_can_be_planned(scaled: Synthesis) -> None:
    """Each plan is a scheduled action in the named time zone."""
    actions = scaled.the("AWS::ApplicationAutoScaling::ScalableTarget")["ScheduledActions"]
    schedules = [(it["Schedule"], it["Timezone"], it["ScalableTargetAction"]) for it in actions]
    assert schedules == [
        ("cron(0 7 ? * MON-FRI *)", "Europe/Berlin", {"MinCapacity": 2, "MaxCapacity": 8}),
        ("cron(0 20 ? * * *)", "Europe/Berlin", {"MinCapacity": 1, "MaxCapacity": 1}),
    ]
