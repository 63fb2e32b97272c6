"""`sluice audit`: show what was done through the admin API, and who was refused."""

import argparse
import itertools
import json
from typing import Any

from rich.table import Table

from cli.lib import values
from cli.lib.admin_api import add_access, admin
from cli.lib.project import UsageError
from cli.lib.terminal import console, literal, print_json, show, write_csv

HELP = (
    "Show what was done through the admin API: who did it, when and from where, and the fields "
    "before and after. The newest entry comes first."
)
_COLUMNS = ("at", "action", "key", "actor", "address", "outcome")
_CSV = (*_COLUMNS, "code", "id", "invocation", "attempts", "asked", "before", "after")
_COLOURS = {"done": "green", "refused": "red", "unknown": "yellow"}


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    text = "the first day or hour, UTC: 2026-11-21, 2026-11-21T06 (30 days ago)"
    parser.add_argument("--since", metavar="DAY", help=text)
    parser.add_argument("--until", metavar="DAY", help="the day or hour after the last one (now)")
    parser.add_argument("--key", type=values.key_id, help="only entries about this key")
    text = (
        "only entries of this actor: iam, secret, unknown, or a whole value of the column `actor`"
    )
    parser.add_argument("--actor", help=text)
    parser.add_argument(
        "--most",
        type=values.entries,
        default=200,
        metavar="N",
        help="the maximum number of entries (200)",
    )
    parser.add_argument("--csv", action="store_true", help="print CSV")
    add_access(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the entries as a table, CSV or JSON."""
    if args.csv and args.json:
        raise UsageError("--csv and --json exclude each other.")
    query = {name: getattr(args, name) for name in ("since", "until", "key", "actor")}
    pages = admin(args).pages("/audit", limit=min(args.most, 1000), **query)
    entries = list(itertools.islice(pages, args.most))
    if args.json:
        print_json(entries)
    elif args.csv:
        write_csv(_CSV, ([_cell(entry[name]) for name in _CSV] for entry in entries))
    elif not entries:
        console.print("Nothing was done in this time.")
    else:
        _table(entries)


def _cell(value: object) -> object:
    return "" if value is None else json.dumps(value) if isinstance(value, dict) else value


def _table(entries: list[dict[str, Any]]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in (*_COLUMNS, "what"):
        table.add_column(name, no_wrap=name in {"at", "key"}, overflow="fold")
    for entry in entries:
        cells = [literal(entry[name] or "") for name in _COLUMNS[1:-1]]
        colour = _COLOURS.get(entry["outcome"], "yellow")
        table.add_row(
            values.when(entry["at"]),
            *cells,
            f"[{colour}]{literal(entry['outcome'])}[/]",
            literal(_what(entry)),
        )
    show(table)


def _what(entry: dict[str, Any]) -> str:
    """Return the change in words; if there is none, the request or the error."""
    before, after = entry["before"], entry["after"]
    if entry["code"]:
        times = f", {entry['attempts']} times" if (entry["attempts"] or 0) > 1 else ""
        return f"{entry['code']}{times}"
    if before and after:
        return ", ".join(
            f"{name}: {values.shown(name, before.get(name))} -> {values.shown(name, value)}"
            for name, value in after.items()
        )
    fields = after or entry["asked"]
    return ", ".join(
        f"{name}: {values.shown(name, value)}"
        for name, value in fields.items()
        if value not in (None, "", {})
    )
