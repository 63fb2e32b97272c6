"""Stores log lines in CloudWatch Logs, metrics in CloudWatch and segments in X-Ray.

The data planes send these items:

- a log line: {"region", "group", "stream", "timestamp" (ms), "message"}. A line in the embedded
  metric format becomes metrics, too;
- metrics: {"region", "namespace", "data"}, as PutMetricData takes them;
- a segment: {"region", "segment"}, which is JSON text;
- the X-Ray daemon's records of itself: {"region", "records"}. They are dropped, because no API
  returns them.

Source: "Specification: Embedded metric format" of the CloudWatch user guide.
"""

import json
import logging
from collections import defaultdict
from datetime import UTC, datetime
from itertools import product
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.logs.models import logs_backends
from moto.xray.models import xray_backends

log = logging.getLogger("local.moto")

Line = dict[str, Any]
# The maximum number of traces. Older ones are dropped.
_TRACES = 1000
# The maximum number of metrics' values in a region, some hours of a busy deployment. Alarms look at
# all of them. Older ones are dropped.
_VALUES = 200_000
# The maximum number of lines in a log group, those of some 10,000 requests. Older ones are dropped.
_EVENTS = 50_000


def take(items: list[Line]) -> None:
    """Store items. Create the log groups and streams that they need."""
    for item in items:
        if "namespace" in item:
            _put(item["region"], item["namespace"], item["data"])
        elif "segment" in item:
            _segment(item)
    _lines([item for item in items if "message" in item])


def _put(region: str, namespace: str, data: list[dict[str, Any]]) -> None:
    backend = cloudwatch_backends[DEFAULT_ACCOUNT_ID][region]
    backend.put_metric_data(namespace, [{"Timestamp": None, **metric} for metric in data])
    if len(backend.metric_data) > _VALUES * 1.1:
        del backend.metric_data[:-_VALUES]


def _segment(item: Line) -> None:
    backend = xray_backends[DEFAULT_ACCOUNT_ID][item["region"]]
    backend.process_segment(item["segment"])
    traces = backend._segment_collection._traces  # noqa: SLF001 - moto never drops them
    while len(traces) > _TRACES:
        del traces[next(iter(traces))]


def _lines(lines: list[Line]) -> None:
    streams: defaultdict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        event = {"timestamp": line["timestamp"], "message": line["message"]}
        streams[line["region"], line["group"], line["stream"]].append(event)
        for namespace, data in metrics(line["message"]):
            _put(line["region"], namespace, data)
    for (region, group, stream), events in streams.items():
        backend = logs_backends[DEFAULT_ACCOUNT_ID][region]
        if group not in backend.groups:
            backend.create_log_group(group, {})
        if stream not in backend.groups[group].streams:
            backend.create_log_stream(group, stream)
        backend.put_log_events(group, stream, sorted(events, key=lambda event: event["timestamp"]))
        _trim(backend.groups[group].streams)


def _trim(streams: dict[str, Any]) -> None:
    """Drop the oldest lines of a log group that has too many. moto keeps all of them."""
    more = sum(len(stream.events) for stream in streams.values()) - _EVENTS
    if more < _EVENTS // 10:
        return
    for name, stream in [*streams.items()]:  # in the order in which they began
        size = len(stream.events)
        if size > more:
            del stream.events[:more]
            return
        del streams[name]
        more -= size


def metrics(message: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return namespace and data of the metrics in a line; none if it is not in the format."""
    if '"_aws"' not in message:
        return []
    try:
        record = json.loads(message)
        return [
            (directive["Namespace"], _data(record, directive))
            for directive in record["_aws"]["CloudWatchMetrics"]
        ]
    except (ValueError, KeyError, TypeError, OverflowError, OSError) as error:
        log.warning("a line that is not in the embedded metric format: %r", error)
        return []


def _data(record: dict[str, Any], directive: dict[str, Any]) -> list[dict[str, Any]]:
    data = []
    at = datetime.fromtimestamp(record["_aws"]["Timestamp"] / 1000, UTC).replace(tzinfo=None)
    for metric, names in product(directive["Metrics"], directive.get("Dimensions") or [[]]):
        values = record[metric["Name"]]
        data.append(
            {
                "MetricName": metric["Name"],
                "Values": values if isinstance(values, list) else [values],
                "Unit": metric.get("Unit", "None"),
                "Dimensions": [{"Name": name, "Value": str(record[name])} for name in names],
                "Timestamp": at,
            }
        )
    return data
