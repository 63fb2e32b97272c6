"""CloudWatch's OTLP endpoint for metrics. It writes each point to a log group.

On AWS, PromQL reads the metrics. The local cloud has no PromQL, so each point is a line of the log
group `GROUP`. Only OTLP's JSON is taken here, which AWS takes beside its binary form, and only
gauges, which Sluice sends. That a data point has at most 150 labels is from the page "Metrics in
Amazon CloudWatch"; the size of a request and the ages of points are those of the traces' endpoint,
and for metrics unconfirmed.
"""

import json
import math
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from local import bodies

GROUP = "otlp-metrics"
_STREAM = "default"
_MAX_BODY = 10**6
_MAX_POINTS = 1000
_MAX_LABELS = 150
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
_FUTURE_S, _PAST_S = 2 * 3600, 14 * 86_400
_REGION = re.compile(r"Credential=[^/]*/\d+/([a-z0-9-]+)/monitoring/")
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)

Item = dict[str, Any]


class Metrics:
    """Takes metrics, and sends each point on as a log line."""

    def __init__(self, send: Callable[[list[Item]], Awaitable[None]]) -> None:
        """`send` takes items as `local.moto.telemetry` describes them."""
        self._send = send

    async def take(self, request: web.Request) -> web.Response:
        """Answer `POST /v1/metrics`."""
        if request.content_type != "application/json":
            return _error(415, "the local cloud takes OTLP as application/json")
        body = await bodies.read(request, _MAX_BODY)
        if body is None:
            return _error(413, f"a request has at most {_MAX_BODY} bytes")
        try:
            found = list(_points(json.loads(body)))
        except _MALFORMED as error:
            return _error(400, f"the request is not OTLP's JSON, or over a limit: {error}")
        if len(found) > _MAX_POINTS:
            return _error(400, f"a request has at most {_MAX_POINTS} data points")
        region = _REGION.search(request.headers.get("Authorization", ""))
        items = [
            {
                "region": region[1] if region else "us-east-1",
                "group": GROUP,
                "stream": _STREAM,
                "timestamp": point["timeUnixNano"] // 1_000_000,
                "message": json.dumps(point, separators=(",", ":")),
            }
            for point in found
        ]
        if items:
            await self._send(items)
        return web.json_response({})


def _points(content: Any) -> Iterator[Item]:
    """Yield the data points of a request. Raises for what is not OTLP."""
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
    now = time.time()
    if not (now - _PAST_S) * 1e9 <= when <= (now + _FUTURE_S) * 1e9:
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


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
