"""The metrics of the functions, as CDK's metrics."""

from infra.constructs.request_metrics import metric
from infra.settings.deployment import DEV


def test_a_metric_is_of_a_deployment_or_of_a_model() -> None:
    """The dimensions are those with which the functions write it."""
    of_all, of_one = metric(DEV, "Completed"), metric(DEV, "Completed", model="m")
    assert of_all.dimensions == {"Deployment": "sluice-dev"}
    assert of_one.dimensions == {"Deployment": "sluice-dev", "Model": "m"}
    assert (of_one.namespace, of_one.period.to_seconds()) == ("Sluice", 60)
