"""Patch moto to list metrics in linear time.

moto compares each stored value with every metric that it has found. With some ten thousand values,
a call takes minutes, and every other call of CloudWatch waits.
"""

from typing import Any

from moto.cloudwatch.models import CloudWatchBackend, Dimension


def install() -> None:
    """Replace moto's function."""
    CloudWatchBackend.get_filtered_metrics = _filtered


def _filtered(
    self: CloudWatchBackend, metric_name: str, namespace: str, dimensions: list[dict[str, str]]
) -> list[Any]:
    """Return one value of each metric that has the name, the namespace and the dimensions."""
    wanted = [Dimension(one["Name"], one.get("Value")) for one in dimensions]
    found: dict[object, Any] = {}
    for datum in self.get_all_metrics():
        if (namespace and namespace != datum.namespace) or (
            metric_name and metric_name != datum.name
        ):
            continue
        names = frozenset((one.name, one.value) for one in datum.dimensions)
        key = datum.namespace, datum.name, names
        if key not in found and all(one in datum.dimensions for one in wanted):
            found[key] = datum
    return list(found.values())
