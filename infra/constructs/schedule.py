"""The schedule of a function that does what is due, such as the sweeper."""

from aws_cdk import Duration
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct


def add_schedule(
    scope: Construct, function: lambda_.Function, *, period: Duration, target: str, description: str
) -> None:
    """Run a function once in each period. The rule's id in the scope is `Schedule`.

    A failed run is not retried, and its event is not kept: the next run finds everything that the
    failed one left.

    Args:
        scope: The parent of the rule.
        function: The function.
        period: The time from one run to the next, and the age at which an event is dropped.
        target: The id of the function among the rule's targets.
        description: The rule's.

    """
    function.configure_async_invoke(retry_attempts=0, max_event_age=period)
    # CDK's own target would name its permission after the stack. Stages may differ only in
    # settings.
    retry = events.CfnRule.RetryPolicyProperty(
        maximum_retry_attempts=0, maximum_event_age_in_seconds=period.to_seconds()
    )
    rule = events.CfnRule(
        scope,
        "Schedule",
        description=description,
        schedule_expression=events.Schedule.rate(period).expression_string,
        state="ENABLED",
        targets=[
            events.CfnRule.TargetProperty(arn=function.function_arn, id=target, retry_policy=retry)
        ],
    )
    function.add_permission(
        "Schedule",
        principal=iam.ServicePrincipal("events.amazonaws.com"),
        source_arn=rule.attr_arn,
    )
