"""The metrics that the functions write into their logs, as CDK's metrics.

`tests/contract/test_metrics.py` compares these names with what the functions write.
"""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch

from infra.settings.deployment import Settings

NAMESPACE = "Sluice"
TTFT = "gen_ai.server.time_to_first_token"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
CAUSES = (
    "Complete",
    "Filtered",
    "Budget",
    "Meter",
    "Deadline",
    "Upstream",
    "Timeout",
    "Overloaded",
    "Unavailable",
    "Fault",
    "Cancelled",
    "ClientLeft",
    "Refused",
)
"""How responses end: the metric is `Ended` and the cause."""
KEPT = ("Resumed", "Replayed", "CacheHits")
"""How answers that are kept were read again."""
REJECTED = (
    "insufficient_quota",
    "internal_error",
    "invalid_api_key",
    "invalid_request",
    "key_contended",
    "model_not_found",
    "monthly_ceiling_reached",
    "network_not_allowed",
    "origin_denied",
    "other",
    "permission_denied",
    "rate_limit_exceeded",
    "request_running",
    "service_stopped",
    "service_unavailable",
)
"""Why requests are rejected before they are admitted: the metric is `Rejected.` and the code."""


def deployment_of(settings: Settings) -> str:
    """Return the value of the dimension `Deployment`."""
    return f"{settings.name}-{settings.stage}"


def metric(
    settings: Settings,
    name: str,
    *,
    statistic: str = "Sum",
    seconds: int = 60,
    model: str | None = None,
) -> cloudwatch.Metric:
    """Return a metric of the deployment, or of one of its models."""
    dimensions = {"Deployment": deployment_of(settings)}
    return cloudwatch.Metric(
        namespace=NAMESPACE,
        metric_name=name,
        dimensions_map=dimensions if model is None else dimensions | {"Model": model},
        statistic=statistic,
        period=Duration.seconds(seconds),
    )
