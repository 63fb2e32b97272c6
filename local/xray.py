"""X-Ray's OTLP endpoint for traces, with its limits. It writes spans to the log group `aws/spans`.

That is where Transaction Search keeps spans on AWS. The form of a span in the log group is that of
examples in the CloudWatch user guide, "Transaction Search"; the limits are those of its page "OTLP
endpoints". Only OTLP's JSON is taken here, which AWS takes beside its binary form.
"""

import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from local import bodies

GROUP = "aws/spans"
_STREAM = "default"
_MAX_BODY = 5 * 10**6
_MAX_SPANS = 10_000
_MAX_SPAN = 200_000
_MAX_RESOURCE = 16_000
_TRACE = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN = re.compile(r"(?!0{16})[0-9a-f]{16}")
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")
_FUTURE_S, _PAST_S = 2 * 3600, 14 * 86_400
_REGION = re.compile(r"Credential=[^/]*/\d+/([a-z0-9-]+)/xray/")

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)

Item = dict[str, Any]


class Spans:
    """Takes spans, and sends each on as a log line."""

    def __init__(self, send: Callable[[list[Item]], Awaitable[None]]) -> None:
        """`send` takes items as `local.moto.telemetry` describes them."""
        self._send = send

    async def take(self, request: web.Request) -> web.Response:
        """Answer `POST /v1/traces`."""
        if request.content_type != "application/json":
            return _error(415, "the local cloud takes OTLP as application/json")
        body = await bodies.read(request, _MAX_BODY)
        if body is None:
            return _error(413, f"a request has at most {_MAX_BODY} bytes")
        try:
            found = list(_spans(json.loads(body)))
        except _MALFORMED as error:
            return _error(400, f"the request is not OTLP's JSON, or over a limit: {error}")
        region = _REGION.search(request.headers.get("Authorization", ""))
        items = [
            {
                "region": region[1] if region else "us-east-1",
                "group": GROUP,
                "stream": _STREAM,
                "timestamp": span["endTimeUnixNano"] // 1_000_000,
                "message": json.dumps(span, ensure_ascii=False, separators=(",", ":")),
            }
            for span in found
        ]
        if items:
            await self._send(items)
        return web.json_response({})


def _spans(content: Any) -> Iterator[Item]:
    """Yield the spans of a request as the log group has them. Raises for what is not OTLP."""
    count = 0
    for resource in content["resourceSpans"]:
        made_by = {"attributes": _attributes(resource.get("resource", {}))}
        if len(json.dumps(made_by)) > _MAX_RESOURCE:
            raise ValueError(f"a resource has at most {_MAX_RESOURCE} bytes")
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                count += 1
                if count > _MAX_SPANS:
                    raise ValueError(f"a request has at most {_MAX_SPANS} spans")
                if len(json.dumps(span)) > _MAX_SPAN:
                    raise ValueError(f"a span has at most {_MAX_SPAN} bytes")
                yield _span(span, made_by, scope.get("scope", {}).get("name", ""))


def _span(span: Any, made_by: Item, scope: str) -> Item:
    if not _TRACE.fullmatch(span["traceId"]) or not _SPAN.fullmatch(span["spanId"]):
        raise ValueError("traceId and spanId are hexadecimal, and not zero")
    parent = span.get("parentSpanId", "")
    if parent and not _SPAN.fullmatch(parent):
        raise ValueError("parentSpanId is hexadecimal, and not zero")
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    now = time.time()
    if not (now - _PAST_S) * 1e9 <= start <= end <= (now + _FUTURE_S) * 1e9:
        raise ValueError("a span's times are in order, and neither too old nor too far ahead")
    status = span.get("status", {})
    return {
        "resource": made_by,
        "scope": {"name": scope},
        "traceId": span["traceId"],
        "spanId": span["spanId"],
        **({"parentSpanId": parent} if parent else {}),
        "flags": int(span.get("flags", 0)) & 0xFF,
        "name": str(span["name"]),
        "kind": _named(_KINDS, span.get("kind", 0)),
        "startTimeUnixNano": start,
        "endTimeUnixNano": end,
        "durationNano": end - start,
        "attributes": _attributes(span),
        "events": [
            {
                "timeUnixNano": int(event["timeUnixNano"]),
                "name": str(event["name"]),
                "attributes": _attributes(event),
            }
            for event in span.get("events", [])
        ],
        "status": {
            "code": _named(_STATUSES, status.get("code", 0)),
            **({"message": status["message"]} if status.get("message") else {}),
        },
    }


def _named(names: tuple[str, ...], number: Any) -> str:
    """Return the name of an enumeration's number. Raises for one that it has not."""
    if number < 0:
        raise ValueError(f"{number} has no name")
    found: str = names[number]
    return found


def _attributes(of: Any) -> Item:
    return {each["key"]: _value(each["value"]) for each in of.get("attributes", [])}


def _value(value: Any) -> Any:
    [(kind, content)] = value.items()
    if kind == "arrayValue":
        return [_value(each) for each in content.get("values", [])]
    if kind == "intValue":
        return int(content)
    if kind not in {"stringValue", "boolValue", "doubleValue"}:
        raise ValueError(f"{kind} is not a value that is taken")
    return content


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
