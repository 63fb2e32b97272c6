"""CloudWatch's OTLP endpoint for metrics. It writes each point to a log group.

On AWS, PromQL reads the metrics. The local cloud has no PromQL, so each point is a line of the log
group `GROUP`. Only gauges are taken here, which Sluice sends. That a data point has at most 150
labels is from the page "Metrics in Amazon CloudWatch"; the size of a request and the ages of points
are those of the traces' endpoint, and for metrics unconfirmed.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from local.otlp import Item, Line, Receiver, Send, is_recent

GROUP = "otlp-metrics"
_MAX_BODY = 10**6
_MAX_POINTS = 1000
_MAX_LABELS = 150
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")


def metrics(send: Send) -> Receiver:
    """Return what answers `POST /v1/metrics`."""
    return Receiver(send, _lines, group=GROUP, service="monitoring", max_body=_MAX_BODY)


def _lines(content: Any) -> Iterator[Line]:
    """Yield a line for each data point of a request. Raises for what is not OTLP."""
    for count, point in enumerate(_points(content), 1):
        if count > _MAX_POINTS:
            raise ValueError(f"a request has at most {_MAX_POINTS} data points")
        yield Line(point["timeUnixNano"], point)


def _points(content: Any) -> Iterator[Item]:
    """Yield the data points of a request. Raises as `_lines` does."""
    for resource in content["resourceMetrics"]:
        made_by = _attributes(resource.get("resource", {}))
        for scope in resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                if not _NAME.fullmatch(metric["name"]):
                    raise ValueError("a metric's name has letters, digits and _ . / -")
                for point in metric["gauge"]["dataPoints"]:
                    yield {
                        "resource": made_by,
                        "name": metric["name"],
                        "unit": str(metric.get("unit", "")),
                        **_point(point),
                    }


def _point(point: Any) -> Item:
    labels = _attributes(point)
    if len(labels) > _MAX_LABELS:
        raise ValueError(f"a data point has at most {_MAX_LABELS} labels")
    when = int(point["timeUnixNano"])
    if not is_recent(when):
        raise ValueError("a point's time is neither too old nor too far ahead")
    value = int(point["asInt"]) if "asInt" in point else float(point["asDouble"])
    if not math.isfinite(value):
        raise ValueError("a value is a finite number")
    return {"labels": labels, "timeUnixNano": when, "value": value}


def _attributes(of: Any) -> Item:
    found = {}
    for each in of.get("attributes", []):
        text = each["value"]["stringValue"]
        if not isinstance(text, str):
            raise ValueError("a label is text")
        found[each["key"]] = text
    return found
