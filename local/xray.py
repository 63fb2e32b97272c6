"""X-Ray's OTLP endpoint for traces, with its limits. It writes spans to the log group `aws/spans`.

That is where Transaction Search keeps spans on AWS. The form of a span in the log group is that of
examples in the CloudWatch user guide, "Transaction Search"; the limits are those of its page "OTLP
endpoints".
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from local.otlp import Item, Line, Receiver, Send, is_recent

GROUP = "aws/spans"
_MAX_BODY = 5 * 10**6
_MAX_SPANS = 10_000
_MAX_SPAN = 200_000
_MAX_RESOURCE = 16_000
_TRACE = re.compile(r"(?!0{32})[0-9a-f]{32}")
_SPAN = re.compile(r"(?!0{16})[0-9a-f]{16}")
_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")


def spans(send: Send) -> Receiver:
    """Return what answers `POST /v1/traces`."""
    return Receiver(send, _lines, group=GROUP, service="xray", max_body=_MAX_BODY)


def _lines(content: Any) -> Iterator[Line]:
    """Yield a line for each span of a request. Raises for what is not OTLP."""
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
                found = _span(span, made_by, scope.get("scope", {}).get("name", ""))
                yield Line(found["endTimeUnixNano"], found)


def _span(span: Any, made_by: Item, scope: str) -> Item:
    if not _TRACE.fullmatch(span["traceId"]) or not _SPAN.fullmatch(span["spanId"]):
        raise ValueError("traceId and spanId are hexadecimal, and not zero")
    parent = span.get("parentSpanId", "")
    if parent and not _SPAN.fullmatch(parent):
        raise ValueError("parentSpanId is hexadecimal, and not zero")
    start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    if not (start <= end and is_recent(start) and is_recent(end)):
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
