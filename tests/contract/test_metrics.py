"""The metrics that alarms and the dashboard name are those that the functions write."""

from infra.constructs import request_metrics
from lambda_fn import emf
from lambda_fn.stream import metrics, rejections, resume


def test_names_are_the_same_on_both_sides() -> None:
    """Namespace, causes, codes and metrics have the same names in templates and functions."""
    assert request_metrics.NAMESPACE == emf.NAMESPACE
    assert request_metrics.CAUSES == metrics.CAUSES
    assert {f"Rejected.{code}" for code in request_metrics.REJECTED} == set(rejections.NAMES)
    assert request_metrics.TTFT == metrics.TTFT
    assert request_metrics.OUTPUT_TOKENS in metrics.UNITS
    assert request_metrics.KEPT == resume.COUNTS
    assert "FlushLag" in metrics.UNITS


def test_metrics_of_alarms_have_the_deployment_alone() -> None:
    """What alarms read without a model is written with the deployment as the only dimension."""
    assert {request_metrics.TTFT, "Completed", "Failed", "CostUSD"} <= set(metrics.OVERALL)
    assert metrics.UNAVAILABLE == "EndedUnavailable"
    assert metrics.UNAVAILABLE.removeprefix("Ended") in metrics.CAUSES
