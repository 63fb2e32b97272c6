"""`sluice usage ...`: report usage, reconcile the accounts, and replay logged settlements."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.table import Table

from cli.lib import charts, values
from cli.lib.admin_api import Admin, add_access, admin
from cli.lib.project import CommandError, UsageError, why
from cli.lib.reconcile import reconcile
from cli.lib.stack import aws_options
from cli.lib.terminal import console, errors, item, literal, print_json, show, write_csv

HELP = "Show usage, reconcile, replay settlements, look up a request, or make rollups again."
_EVENT = "settlement_unsaved"
_BATCH = 500
_WIDE = 100
"""Columns of a terminal that has room for long bars."""
_COLUMNS = ("requests", "refused", "prompt_tokens", "completion_tokens", "cost")
_BOOKED = ("requests", "prompt_tokens", "completion_tokens")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the report, and a parser for each subcommand."""
    parser.set_defaults(run=run)
    parser.add_argument(
        "--by",
        default="day",
        help="group by day, hour, month, owner, key, model, or several with commas (day)",
    )
    parser.add_argument("--month", type=_month, metavar="MONTH", help="one month, UTC: 2026-11")
    text = "the first day or hour, UTC: 2026-11-21, 2026-11-21T06 (30 days ago)"
    parser.add_argument("--since", metavar="DAY", help=text)
    parser.add_argument("--until", metavar="DAY", help="the day or hour after the last one (now)")
    parser.add_argument("--key", type=values.key_id, help="only this key's usage")
    parser.add_argument("--model", help="only this model's usage")
    parser.add_argument("--csv", action="store_true", help="print CSV")
    add_access(parser)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(
        name: str, run: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        add_access(added, inner=True)
        return added

    command(
        "reconcile",
        _reconcile,
        "Compare accounts, ledger and rollups; exit status 1 on any difference.",
    )
    text = (
        "Settle the requests whose settlement was only logged, from log files or CloudWatch Logs."
    )
    replay = command("replay", _replay, text)
    text = "log files; - is standard input (the function's log group)"
    replay.add_argument("files", type=Path, nargs="*", metavar="FILE", help=text)
    text = "how far back the log group is read (24h)"
    replay.add_argument("--since", type=values.seconds, default=86_400, metavar="TIME", help=text)
    request = command("request", _request, "Show one request's ledger item.")
    request.add_argument(
        "id", metavar="REQUEST", help="the value of x-request-id, or a completion's id"
    )
    rebuild = command("rebuild", _rebuild, "Make the rollups of some hours again from the ledger.")
    rebuild.add_argument("since", metavar="SINCE", help="the first day or hour, UTC")
    rebuild.add_argument("until", metavar="UNTIL", help="the day or hour after the last one")


def run(args: argparse.Namespace) -> None:
    """Print the report as a table, CSV or JSON."""
    if args.csv and args.json:
        raise UsageError("--csv and --json exclude each other.")
    if args.month is not None:
        if args.since or args.until:
            raise UsageError("--month excludes --since and --until.")
        args.since, args.until = args.month
    api = admin(args)
    query = {name: getattr(args, name) for name in ("since", "until", "by", "key", "model")}
    rows = list(api.pages("/usage", limit=10_000, **query))
    by = args.by.split(",")
    if args.json:
        print_json(rows)
        return
    rows = [charts.without_refused(row) for row in rows]
    if args.csv:
        names = (*by, *_COLUMNS, "recovered", "open")
        write_csv(names, ([row[name] for name in names] for row in rows))
    elif not rows:
        console.print("Nothing was used in this time.")
    else:
        names_of_keys = (
            {key["id"]: key["name"] for key in api.pages("/keys", limit=100)} if "key" in by else {}
        )
        _table(rows, by, names_of_keys)


def _month(text: str) -> tuple[str, str]:
    """Return the first day of a month, and of the next one."""
    match = re.fullmatch(r"([0-9]{4})-([0-9]{2})", text)
    try:
        if match is None:
            raise ValueError
        first = date(int(match[1]), int(match[2]), 1)
        following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    except ValueError:  # also year 0, and the last month that has dates, which no day follows
        raise argparse.ArgumentTypeError(f"{text!r} is not a month such as 2026-11") from None
    return first.isoformat(), following.isoformat()


def _table(rows: list[dict[str, Any]], by: Sequence[str], names_of_keys: dict[str, str]) -> None:
    if list(by) == ["day"]:
        rows = charts.every_day(rows)
    tokens = [row["prompt_tokens"] + row["completion_tokens"] for row in rows]
    table = Table(box=None, header_style="bold", pad_edge=False, show_footer=len(rows) > 1)
    for place, name in enumerate(by):
        table.add_column(name, "total" if place == 0 else "", no_wrap=True, footer_style="bold")
    if "key" in by:
        table.add_column("name")
    for name in _COLUMNS:
        total = charts.money(rows) if name == "cost" else f"{sum(row[name] for row in rows):,}"
        table.add_column(name.replace("_", " "), total, justify="right", footer_style="bold")
    table.add_column("all tokens", no_wrap=True)
    bars = charts.bars(tokens, 24 if console.width >= _WIDE else 10)
    for row, bar in zip(rows, bars, strict=True):
        cells = [literal(row[name]) for name in by]
        if "key" in by:
            cells.append(literal(names_of_keys.get(row["key"], "(deleted)")))
        cells += [literal(row[name]) if name == "cost" else f"{row[name]:,}" for name in _COLUMNS]
        table.add_row(*cells, f"[cyan]{bar}[/cyan]")
    show(table)
    marks = {"recovered": "settled by the sweeper from a checkpoint", "open": "not settled yet"}
    for name, words in marks.items():
        if count := sum(row[name] for row in rows):
            console.print(f"[dim]{count:,} {words}[/dim]")


def _reconcile(args: argparse.Namespace) -> None:
    with console.status("Reconciling") as status:
        report = reconcile(admin(args), lambda hour: status.update(f"Reconciling: {literal(hour)}"))
    if args.json:
        print_json(report)
    else:
        _show_report(report)
    if not report["agrees"]:
        count = len(report["differences"]) + report["differences_left"]
        raise CommandError(
            f"Accounts, ledger and rollups disagree: {values.counted(count, 'difference')}."
        )


def _show_report(report: dict[str, Any]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("key", "place", "requests", "prompt tokens", "completion tokens", "cost"):
        table.add_column(name, justify="left" if name in {"key", "place"} else "right")
    wrong = {(it["key"], place) for it in report["differences"] for place in it["places"]}
    for key in report["keys"]:
        for number, place in enumerate(("account", "ledger", "rollups")):
            amounts = key[place]
            style = "red" if (key["key"], place.removesuffix("s")) in wrong else None
            cells = (
                ["deleted", "", "", ""]
                if amounts is None
                else [f"{amounts[name]:,}" for name in _BOOKED]
            )
            if amounts is not None:
                cells.append(charts.decimal(amounts["cost"]))
            table.add_row(literal(key["key"]) if number == 0 else "", place, *cells, style=style)
    show(table)
    running = sum(key["in_flight"] for key in report["keys"])
    console.print(
        f"[dim]{running:,} in flight; rollups up to {literal(report['rolled'])}, the ledger "
        "itself from there[/dim]"
    )
    for it in report["differences"]:
        left, right = zip(it["places"], it["values"], strict=True)
        errors.print(
            f"[red]✗[/red] {literal(it['key'])} {literal(it['field'])}: {left[0]} "
            f"{left[1]:,}, {right[0]} {right[1]:,}"
        )
    if report["agrees"]:
        console.print("[green]✓[/green] accounts, ledger and rollups agree")


def _replay(args: argparse.Namespace) -> None:
    api = admin(args)
    lines = [line for line in _lines(args, api) if _EVENT in line]
    counts = {"settled": 0, "corrected": 0, "already": 0, "rolled": 0}
    wrong: dict[str, list[str]] = {"malformed": [], "failed": []}
    for start in range(0, len(lines), _BATCH):
        result = api("POST", "/replay", {"lines": lines[start : start + _BATCH]})
        counts = {name: value + result[name] for name, value in counts.items()}
        for name, texts in wrong.items():
            texts += [_renumbered(text, start) for text in result[name]]
    if args.json:
        print_json({**counts, **wrong})
    else:
        words = {
            "settled": "settled",
            "corrected": "corrected",
            "already": "settled already",
            "rolled": "hours with new rollups",
        }
        console.print(
            f"{len(lines):,} unsaved: "
            + ", ".join(f"{counts[name]:,} {text}" for name, text in words.items())
        )
    for text in wrong["malformed"]:
        errors.print(f"[yellow]malformed[/yellow] {literal(text)}")
    if wrong["failed"]:
        raise CommandError(
            f"{len(wrong['failed']):,} could not be written; replay them again: "
            f"{wrong['failed'][0]} ..."
        )
    if wrong["malformed"]:
        raise CommandError(
            f"Not settled: {values.counted(len(wrong['malformed']), 'malformed line')}."
        )


def _lines(args: argparse.Namespace, api: Admin) -> Iterator[str]:
    if not args.files:
        yield from _logged(args, api)
    for name in args.files:
        if str(name) == "-":
            yield from sys.stdin
            continue
        try:
            with name.open(errors="replace") as file:
                yield from file
        except OSError as error:
            raise UsageError(f"{name} cannot be read: {why(error)}") from None


def _logged(args: argparse.Namespace, api: Admin) -> Iterator[str]:
    """Yield the lines that the stream function logged."""
    import time

    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    options = aws_options(args.stage)
    try:
        functions = boto3.client("lambda", **options)
        function = functions.get_function_configuration(FunctionName=api.outputs["FunctionName"])
        group = function["LoggingConfig"]["LogGroup"]
        pages = (
            boto3.client("logs", **options)
            .get_paginator("filter_log_events")
            .paginate(
                logGroupName=group,
                filterPattern=f'"{_EVENT}"',
                startTime=int((time.time() - args.since) * 1000),
            )
        )
        for page in pages:
            for event in page["events"]:
                yield event["message"]
    except (BotoCoreError, ClientError) as error:
        raise CommandError(f"The function's log cannot be read: {error}") from None


def _request(args: argparse.Namespace) -> None:
    entry = admin(args)("GET", f"/requests/{quote(args.id, safe='')}")
    if args.json:
        print_json(entry)
        return
    for name, value in entry.items():
        if name != "object" and value is not None:
            text = literal(values.shown(name, value))
            item(f"  [dim]{name.replace('_', ' '):<23}[/dim]", text)


def _rebuild(args: argparse.Namespace) -> None:
    body = {"since": args.since, "until": args.until}
    api = admin(args, {"since": "SINCE", "until": "UNTIL"})
    hours = api("POST", "/rollups/rebuild", body)["data"]
    if args.json:
        print_json(hours)
        return
    rows, changed = (sum(hour[name] for hour in hours) for name in ("rows", "changed"))
    console.print(
        f"{len(hours):,} hours made again: {rows:,} rows, of which {changed:,} had to be changed"
    )


def _renumbered(text: str, start: int) -> str:
    """Return a message about a line of a batch, with the line's number in the whole input."""
    return re.sub(r"^line (\d+)", lambda match: f"line {int(match[1]) + start}", text)
