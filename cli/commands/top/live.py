"""Read the figures of a deployment again and again, and show them.

The admin API has the number of running requests and the names of keys. The log group of the stream
function has a line for each request that ended.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from cli.commands.top.window import Window, parse
from cli.lib import charts
from cli.lib.admin_api import Admin, KeyNotFoundError
from cli.lib.project import CommandError
from cli.lib.stack import aws_options
from cli.lib.terminal import console, literal, print_json, show

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from rich.console import Console

    from cli.commands.top.window import Ended

_LOCAL_S, _AWS_S = 2, 10
_OVERLAP_S = 30.0
"""Seconds of the last look that each look reads again, because lines may arrive late."""
_PAGES = 20
"""Pages of log lines that one look reads at most; each has 10,000 lines or 1 MB."""
_BESIDE = 4
"""Columns between two tables that are beside each other."""
_LEVELS = "▁▂▃▄▅▆▇█"


class Source:
    """Where the figures of a stack come from."""

    def __init__(self, admin: Admin, logs: Any, group: str, seconds: float) -> None:
        """Take the admin API, boto3's client of CloudWatch Logs, and the log group's name."""
        self._admin = admin
        self._logs = logs
        self._group = group
        self._window = Window(seconds)
        self._read_until = 0.0
        self._names: dict[str, str] = {}

    @classmethod
    def of(cls, stage: str, name: str, seconds: float) -> Source:
        """Return the source of a stage's stack.

        Raises:
            CommandError: there is no such stack, or no access to it.

        """
        import boto3
        from botocore.exceptions import BotoCoreError, ClientError

        admin = Admin.of(stage, name)
        options = aws_options(stage)
        try:
            found = boto3.client("lambda", **options).get_function_configuration(
                FunctionName=admin.outputs["FunctionName"]
            )
        except (BotoCoreError, ClientError) as error:
            raise CommandError(f"The stream function cannot be read: {error}") from None
        group = found["LoggingConfig"]["LogGroup"]
        return cls(admin, boto3.client("logs", **options), group, seconds)

    def figures(self) -> dict[str, Any]:
        """Return the figures of now.

        Raises:
            CommandError: the admin API or the log does not answer.

        """
        now = time.time()
        since = max(now - self._window.seconds, self._read_until - _OVERLAP_S)
        self._window.add(self._ended(since))
        self._read_until = now
        state = self._admin("GET", "/stop")
        figures = self._window.figures(now)
        for row in figures["keys"]:
            row["name"] = self._name(row["key"])
        return {
            "object": "top",
            "at": round(now, 3),
            "stage": self._admin.stage,
            "streams": state["running"],
            "stopped_at": state["stopped_at"],
            **figures,
        }

    def _ended(self, since: float) -> Iterator[Ended]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self._group,
            filterPattern='"ttft_ms"',
            startTime=int(since * 1000),
            PaginationConfig={"MaxItems": _PAGES * 10_000},
        )
        try:
            for page in pages:
                for event in page["events"]:
                    if (ended := parse(event["message"], event["timestamp"] / 1000)) is not None:
                        yield ended
        except (BotoCoreError, ClientError) as error:
            raise CommandError(f"The function's log cannot be read: {error}") from None

    def _name(self, key: str) -> str:
        """Return the name of a key. It is asked for once."""
        if key not in self._names:
            try:
                self._names[key] = str(self._admin("GET", f"/keys/{key}")["name"])
            except KeyNotFoundError:
                self._names[key] = "(deleted)"
        return self._names[key]


def watch(args: argparse.Namespace) -> None:
    """Show the figures of a stage until KeyboardInterrupt; with --once or --json, once."""
    once = args.once or args.json
    if not once and not sys.stdout.isatty():
        raise CommandError("There is no terminal to show figures on: use --once or --json.")
    source = Source.of(args.stage, args.stack_name, args.window)
    if args.json:
        print_json(source.figures())
        return
    if once:
        for table in tables(source.figures()):
            show(table)
            console.print()
        return
    every = args.every or (_LOCAL_S if args.stage == "local" else _AWS_S)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(source.figures()), refresh=True)
            time.sleep(every)


def screen(figures: dict[str, Any], console: Console = console) -> Group:
    """Return the figures for a whole screen.

    Endings and their causes are beside each other if they fit. Where there are more lines than the
    screen has, none are blank, so that 24 rows have the keys, too.
    """
    title = Text(f"sluice top · {figures['stage']} · Ctrl-C ends", style="dim")
    found = {str(it.columns[0].header): it for it in tables(figures)}
    if {"ending", "cause"} <= found.keys():
        beside = Table.grid(padding=(0, _BESIDE, 0, 0), pad_edge=False)
        beside.add_row(found["ending"], found["cause"])
        widths = [console.measure(found[it]).maximum for it in ("ending", "cause")]
        if sum(widths) + _BESIDE <= console.width:
            del found["cause"]
            found["ending"] = beside
    parts: list[Text | Table] = [title, *found.values()]
    spaced = Group(*(part for it in parts for part in (it, Text())))
    if len(console.render_lines(spaced, pad=False)) - 1 <= console.height:
        return spaced
    return Group(*parts)


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the figures as tables: now, latency, endings, and keys."""
    now = _table("now", "")
    is_stopped = figures["stopped_at"] is not None
    now.add_row("new requests", "[red]refused[/red]" if is_stopped else "served")
    now.add_row("streams running", f"{figures['streams']:,}")
    minutes = figures["window_seconds"] / 60
    atleast = "at least " if figures["truncated"] else ""
    now.add_row(
        f"ended in {minutes:g} min",
        f"{atleast}{figures['requests']:,} ({figures['requests_per_second']:.2f} a second)",
    )
    now.add_row("tokens a second", f"{figures['tokens_per_second']:,.1f}")
    now.add_row("over time", f"[cyan]{sparkline(figures['tokens_over_time'])}[/cyan]")
    now.add_row("cost", f"{charts.decimal(figures['cost'])} USD")

    latency = _table("latency", "p50", "p95", "p99", "max")
    fields = (
        ("first token", "ttft_ms"),
        ("between tokens", "itl_ms"),
        ("p95 of an answer", "itl_p95_ms"),
    )
    for name, field in fields:
        if (found := figures[field]) is not None:
            latency.add_row(name, *(f"{found[it]:,.0f} ms" for it in ("p50", "p95", "p99", "max")))

    endings = _table("ending", "requests", "share")
    for name, count in figures["outcomes"].items():
        style = "green" if name == "complete" else "red"
        endings.add_row(
            f"[{style}]{literal(name)}[/{style}]",
            f"{count:,}",
            f"{count / figures['requests']:.1%}",
        )

    causes = _table("cause", "requests")
    for name, count in figures["causes"].items():
        causes.add_row(literal(name), f"{count:,}")

    keys = _table("key", "name", "requests", "tokens", "cost")
    keys.columns[1].justify = "left"
    for row in figures["keys"]:
        keys.add_row(
            literal(row["key"]),
            literal(row["name"]),
            f"{row['requests']:,}",
            f"{row['tokens']:,}",
            charts.decimal(row["cost"]),
        )
    if figures["keys_left"]:
        keys.add_row(f"[dim]and {figures['keys_left']:,} more[/dim]", "", "", "", "")
    return [table for table in (now, latency, endings, causes, keys) if table.rows]


def _table(*head: str) -> Table:
    """Return a table whose first column is text, and whose others are numbers."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for number, name in enumerate(head):
        table.add_column(name, justify="right" if number and name else "left")
    return table


def sparkline(amounts: list[int]) -> str:
    """Return a bar for each amount, as high as its share of the largest one."""
    most = max(amounts, default=0)
    if not most:
        return ""
    return "".join(
        " " if not it else _LEVELS[min(len(_LEVELS) - 1, it * len(_LEVELS) // (most + 1))]
        for it in amounts
    )
