"""Log lines of the data planes as CloudWatch Logs in moto, and lines in the embedded metric format as metrics.

Source: "Specification: Embedded metric format" of the CloudWatch user guide.
"""

import json
import logging
from collections import defaultdict
from itertools import product
from typing import Any

from moto.cloudwatch.models import cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.logs.models import logs_backends

log = logging.getLogger("local.control")

Line = dict[str, Any]


def take(lines: list[Line]) -> None:
    """Put lines where CloudWatch would, making groups and streams as they are needed.

    A line: region, group, stream, timestamp (ms), message.
    """
    streams: defaultdict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        event = {"timestamp": line["timestamp"], "message": line["message"]}
        streams[line["region"], line["group"], line["stream"]].append(event)
        for namespace, data in metrics(line["message"]):
            cloudwatch_backends[DEFAULT_ACCOUNT_ID][line["region"]].put_metric_data(namespace, data)
    for (region, group, stream), events in streams.items():
        backend = logs_backends[DEFAULT_ACCOUNT_ID][region]
        if group not in backend.groups:
            backend.create_log_group(group, {})
        if stream not in backend.groups[group].streams:
            backend.create_log_stream(group, stream)
        backend.put_log_events(group, stream, sorted(events, key=lambda event: event["timestamp"]))


def metrics(message: str) -> list[tuple[str, list[dict[str, Any]]]]:
    """Namespace and data of the metrics in one line; none if it is not in the format."""
    if '"_aws"' not in message:
        return []
    try:
        found = json.loads(message)
        return [
            (directive["Namespace"], list(_data(found, directive))) for directive in found["_aws"]["CloudWatchMetrics"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        log.warning("a line that is not in the embedded metric format: %r", error)
        return []


def _data(found: dict[str, Any], directive: dict[str, Any]) -> list[dict[str, Any]]:
    made = []
    for metric, names in product(directive["Metrics"], directive.get("Dimensions") or [[]]):
        values = found[metric["Name"]]
        made.append(
            {
                "MetricName": metric["Name"],
                "Values": values if isinstance(values, list) else [values],
                "Unit": metric.get("Unit", "None"),
                "Dimensions": [{"Name": name, "Value": str(found[name])} for name in names],
                "Timestamp": None,
            }
        )
    return made
