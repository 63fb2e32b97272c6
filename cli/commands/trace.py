"""`sluice trace ID`: one request from end to end, from the spans that CloudWatch keeps.

The deployment sends them there with the setting `traces=cloudwatch`. Spans of the caller's own that
are in the same trace are shown, too.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from cli.lib import values
from cli.lib.charts import plain
from cli.lib.project import CommandError
from cli.lib.stack import aws_options, no_access
from cli.lib.terminal import console, literal, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

HELP = "Show one request from end to end: its spans, with what happened when."
_GROUP = "aws/spans"
_REQUEST = re.compile(r"(?:req_|chatcmpl-|cmpl-|msg_|resp_)?([0-9a-hjkmnp-tv-z]{26})")
_TRACE = re.compile(r"[0-9a-f]{32}")
_BEFORE_S, _AFTER_S = 120, 3600
"""How long before the beginning of a request, and after it, its spans may have ended."""
_MOST = 1000
_DEEPEST = 20
_TIMES = ("startTimeUnixNano", "endTimeUnixNano")
_BAR = 24
"""Columns of a bar. The names of a deployment that changes no name then fit into 80."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    text = "the value of x-request-id, a completion's id, or a trace's id"
    parser.add_argument("id", type=_id, metavar="ID", help=text)
    text = "how far back to look for a trace's id (1h)"
    parser.add_argument("--since", type=values.seconds, default=3600, metavar="TIME", help=text)
    parser.add_argument("--json", action="store_true", help="print the spans as JSON")
    parser.set_defaults(run=run)


def _id(text: str) -> str:
    request = _REQUEST.fullmatch(text)
    if request is None and _TRACE.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(
            "this is neither a request's id nor a trace's; x-request-id in an answer's head is one"
        )
    return text if request is None else request[1]


def run(args: argparse.Namespace) -> None:
    """Print a request's spans.

    Raises:
        CommandError: there are none, or they cannot be read.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    logs = boto3.client("logs", **aws_options(args.stage))
    try:
        spans = find(logs, args.id, since=args.since)
    except logs.exceptions.ResourceNotFoundException:
        spans = []
    except (BotoCoreError, ClientError) as error:
        raise no_access(args.stage, error, f"The log group {_GROUP} cannot be read") from None
    if not spans:
        raise CommandError(
            f"There are no spans of {args.id}. Spans come some seconds after the answer, of "
            "requests that are sampled, if the deployment has the setting traces=cloudwatch and "
            "the account has Transaction Search (docs/how-to/operate.md, Traces)."
        )
    if args.json:
        print_json(spans)
        return
    for line in drawn(spans):
        console.print(line)


def find(logs: Any, identifier: str, *, since: float) -> list[dict[str, Any]]:
    """Return the spans of the trace that a request is in, by the times at which they began.

    Args:
        logs: boto3's client of CloudWatch Logs.
        identifier: The id of a request, or of a trace.
        since: Seconds for which a trace's id is looked for.

    """
    now = time.time()
    if _TRACE.fullmatch(identifier):
        begin, end = now - since, now + _AFTER_S
        traces = {identifier}
    else:
        from lambda_fn.ids import request_time

        at = request_time(identifier)
        begin, end = at - _BEFORE_S, at + _AFTER_S
        found = _spans(logs, identifier, begin, end)
        traces = {
            span["traceId"]
            for span in found
            if span.get("attributes", {}).get("sluice.request_id") == identifier
        }
    spans = {
        str(span["spanId"]): span
        for trace in traces
        for span in _spans(logs, trace, begin, end)
        if span["traceId"] == trace
    }
    return sorted(spans.values(), key=lambda span: span["startTimeUnixNano"])


def _spans(logs: Any, term: str, begin: float, end: float) -> Iterator[dict[str, Any]]:
    """Yield the spans that contain a term."""
    pages = logs.get_paginator("filter_log_events").paginate(
        logGroupName=_GROUP,
        filterPattern=f'"{term}"',
        startTime=int(begin * 1000),
        endTime=int(end * 1000),
        PaginationConfig={"MaxItems": _MOST},
    )
    for page in pages:
        for event in page["events"]:
            try:
                span = json.loads(event["message"])
                times = {name: int(span[name]) for name in _TIMES}
                yield {**span, **times, "traceId": str(span["traceId"])}
            except (ValueError, KeyError, TypeError):
                continue  # another's line


def drawn(spans: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a drawing: each span below its parent, with its events.

    Times are milliseconds from the beginning of the first span.
    """
    first = min(span["startTimeUnixNano"] for span in spans)
    whole = max(1, max(span["endTimeUnixNano"] for span in spans) - first)
    yield f"[bold]trace {literal(spans[0]['traceId'])}[/bold]"
    ids = {span["spanId"] for span in spans}
    roots = [span for span in spans if span.get("parentSpanId") not in ids]

    def lines(span: dict[str, Any], depth: int) -> Iterator[str]:
        begin, end = span["startTimeUnixNano"], span["endTimeUnixNano"]
        left = (begin - first) * _BAR // whole
        width = max(1, -(-(end - begin) * _BAR // whole))
        bar = f"{' ' * left}{'━' * min(width, _BAR - left)}".ljust(_BAR)
        service = span.get("resource", {}).get("attributes", {}).get("service.name", "")
        status = span.get("status", {})
        failed = status.get("code") == "ERROR"
        colour = "red" if failed else "green"
        why = f" [red]{literal(status.get('message', 'failed'))}[/red]" if failed else ""
        name = f"{'  ' * depth}{literal(service)} · {literal(span.get('name', ''))}"
        yield f"[{colour}]{bar}[/{colour}] {name}  {(end - begin) / 1e6:,.0f} ms{why}"
        for event in span.get("events", []):
            at = int(event["timeUnixNano"])
            mark = min(_BAR - 1, max(0, (at - first) * _BAR // whole))
            place = f"{' ' * mark}╵".ljust(_BAR)
            yield (
                f"[dim]{place}[/dim] {'  ' * depth}  {(at - first) / 1e6:,.0f} ms "
                f"{literal(event['name'])}"
            )
        for below in spans:
            if depth < _DEEPEST and below.get("parentSpanId") == span["spanId"]:
                yield from lines(below, depth + 1)

    for root in roots:
        yield from lines(root, 0)
        yield from _facts(root)


_SHOWN = (
    ("sluice.request_id", "request"),
    ("sluice.key", "key"),
    ("gen_ai.response.model", "model"),
    ("sluice.cause", "ended"),
    ("gen_ai.response.finish_reasons", "finish reason"),
    ("gen_ai.usage.input_tokens", "prompt tokens"),
    ("gen_ai.usage.output_tokens", "completion tokens"),
    ("sluice.cost_usd", "cost in USD"),
)


def _facts(span: dict[str, Any]) -> Iterator[str]:
    attributes = span.get("attributes", {})
    for name, words in _SHOWN:
        if name in attributes:
            value = attributes[name]
            told = ", ".join(map(str, value)) if isinstance(value, list) else value
            if isinstance(told, float):  # a cost: in full, as the ledger has it
                told = plain(Decimal(str(told)))
            yield f"  {words}: {literal(told)}"
