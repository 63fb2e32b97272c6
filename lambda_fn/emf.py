"""Metrics by a log line: CloudWatch's embedded metric format, which needs no call.

Source: "Specification: Embedded metric format" of the CloudWatch user guide. Its limits are 100
metrics in a directive and 30 dimensions in a set. Each set of dimensions is a metric of its own on
the bill.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

NAMESPACE = "Sluice"
DEPLOYMENT = "Deployment"
MODEL = "Model"


class Directive(NamedTuple):
    """Metrics by their names, each with its unit, and the sets of dimensions that they have."""

    units: Mapping[str, str]
    dimensions: Sequence[Sequence[str]]


def embedded(directives: Iterable[Directive], *, now: float) -> dict[str, Any]:
    """Return the member of a log line that makes metrics of the line's own members.

    Args:
        directives: The metrics. Each metric and each dimension is a member of the line.
        now: The metrics' time, in Unix seconds.

    """
    return {
        "_aws": {
            "Timestamp": int(now * 1000),
            "CloudWatchMetrics": [
                {
                    "Namespace": NAMESPACE,
                    "Dimensions": dimensions,
                    "Metrics": [{"Name": name, "Unit": unit} for name, unit in units.items()],
                }
                for units, dimensions in directives
                if units
            ],
        }
    }


def one(name: str, deployment: str | None, *, model: str, now: float) -> dict[str, Any]:
    """Return the members of a log line that count one event of a model.

    Without a deployment, there are no metrics and no members.
    """
    if deployment is None:
        return {}
    directive = Directive({name: "Count"}, [[DEPLOYMENT, MODEL]])
    return {**embedded([directive], now=now), DEPLOYMENT: deployment, MODEL: model, name: 1}
