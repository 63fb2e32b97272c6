"""The functions that add every CloudWatch alarm."""

from collections.abc import Mapping, Sequence

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.settings.deployment import Settings


def add_alarm(
    scope: Construct,
    construct_id: str,
    *,
    description: str,
    metric: cloudwatch.Metric,
    threshold: float,
    actions: Sequence[str],
    periods: int = 1,
    below: bool = False,
) -> cloudwatch.CfnAlarm:
    """Add an alarm that rises when a metric reaches a threshold.

    Args:
        scope: The parent in the construct tree.
        construct_id: The resource's id in it.
        description: What has happened, and what to look at.
        metric: The metric, with its statistic and period.
        threshold: The alarm rises at this value or above.
        actions: The ARNs that the alarm notifies or starts; see `alarm_topics`.
        periods: The number of periods in a row that must reach the threshold.
        below: The alarm rises below the threshold instead. When data stop coming, it has
            insufficient data, and acts on that too. It begins in that state, so a new metric
            sends no notification before its first data.

    """
    return cloudwatch.CfnAlarm(
        scope,
        construct_id,
        alarm_description=description,
        namespace=metric.namespace,
        metric_name=metric.metric_name,
        dimensions=[
            cloudwatch.CfnAlarm.DimensionProperty(name=name, value=value)
            for name, value in (metric.dimensions or {}).items()
        ],
        statistic=metric.statistic,
        period=metric.period.to_seconds(),
        evaluation_periods=periods,
        threshold=threshold,
        comparison_operator="LessThanThreshold" if below else "GreaterThanOrEqualToThreshold",
        treat_missing_data="missing" if below else "notBreaching",
        alarm_actions=list(actions) or None,
        insufficient_data_actions=(list(actions) or None) if below else None,
    )


def add_math_alarm(
    scope: Construct,
    construct_id: str,
    *,
    description: str,
    expression: str,
    metrics: Mapping[str, cloudwatch.Metric],
    threshold: float,
    actions: Sequence[str],
    periods: int = 1,
    needed: int = 1,
    below: bool = False,
) -> cloudwatch.CfnAlarm:
    """Add an alarm that rises when an expression over metrics reaches a threshold.

    Args:
        scope: The parent in the construct tree.
        construct_id: The resource's id in it.
        description: What has happened, and what to look at.
        expression: Metric math over the ids of the metrics. Where a metric has no data, it has
            none either, and the data point does not breach.
        metrics: At most ten metrics by their ids, all with the same period.
        threshold: The alarm rises at this value or above.
        actions: The ARNs that the alarm notifies; see `alarm_topics`.
        periods: The number of latest periods that count, N.
        needed: The number of them that must reach the threshold, M.
        below: The alarm rises below the threshold instead.

    """
    query = cloudwatch.CfnAlarm.MetricDataQueryProperty
    parts = [
        query(
            id=name,
            metric_stat=cloudwatch.CfnAlarm.MetricStatProperty(
                metric=cloudwatch.CfnAlarm.MetricProperty(
                    namespace=metric.namespace,
                    metric_name=metric.metric_name,
                    dimensions=[
                        cloudwatch.CfnAlarm.DimensionProperty(name=key, value=value)
                        for key, value in (metric.dimensions or {}).items()
                    ],
                ),
                period=metric.period.to_seconds(),
                stat=metric.statistic,
            ),
            return_data=False,
        )
        for name, metric in metrics.items()
    ]
    return cloudwatch.CfnAlarm(
        scope,
        construct_id,
        alarm_description=description,
        metrics=[query(id="e", expression=expression, return_data=True), *parts],
        evaluation_periods=periods,
        datapoints_to_alarm=needed,
        threshold=threshold,
        comparison_operator="LessThanThreshold" if below else "GreaterThanOrEqualToThreshold",
        treat_missing_data="notBreaching",
        alarm_actions=list(actions) or None,
    )


def alarm_topics(settings: Settings) -> list[str]:
    """Return the SNS topic of the settings, if they have one, as the actions of an alarm.

    Such an alarm is meant for people.
    """
    return [] if settings.alarm_topic is None else [settings.alarm_topic]
