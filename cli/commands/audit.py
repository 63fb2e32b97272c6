"""`sluice audit`: what was done through the admin API, and who was not let in."""

import argparse
import itertools
import json
import sys
from typing import Any

from rich.table import Table

from cli.commands.keys import add_access, admin
from cli.lib import values
from cli.lib.project import CommandError
from cli.lib.terminal import console, literal, show, write_csv

_COLUMNS = ("at", "action", "key", "actor", "address", "outcome")
_CSV = (*_COLUMNS, "code", "id", "invocation", "attempts", "asked", "before", "after")
_COLOURS = {"done": "green", "refused": "red", "unknown": "yellow"}


def add_audit(commands: Any) -> None:
    """Add the command."""
    text = "Show what was done through the admin API: who, when, from where, before and after; the newest first."
    audit = commands.add_parser("audit", help=text, description=text)
    audit.set_defaults(run=_audit)
    audit.add_argument("--since", metavar="DAY", help="first day or hour, UTC: 2026-11-21, 2026-11-21T06 (30 days ago)")
    audit.add_argument("--until", metavar="DAY", help="the day or hour after the last one (now)")
    audit.add_argument("--key", type=values.key_id, help="only what concerns this key")
    audit.add_argument("--actor", help="iam, secret, unknown, or one of the column in full")
    audit.add_argument("--most", type=int, default=200, metavar="N", help="so many entries at most (200)")
    audit.add_argument("--csv", action="store_true", help="print CSV")
    add_access(audit)


def _audit(given: argparse.Namespace) -> None:
    if given.csv and given.json:
        raise CommandError("--csv and --json exclude each other.")
    query = {name: getattr(given, name) for name in ("since", "until", "key", "actor")}
    pages = admin(given).pages("/audit", limit=min(max(given.most, 1), 1000), **query)
    entries = list(itertools.islice(pages, max(given.most, 0)))
    if given.json:
        sys.stdout.write(json.dumps(entries, indent=2) + "\n")
    elif given.csv:
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
            values.when(entry["at"]), *cells, f"[{colour}]{literal(entry['outcome'])}[/]", literal(_what(entry))
        )
    show(table)


def _what(entry: dict[str, Any]) -> str:
    """Return the change in words; without one what was asked for, or the error."""
    before, after = entry["before"], entry["after"]
    if entry["code"]:
        many = f", {entry['attempts']} times" if (entry["attempts"] or 0) > 1 else ""
        return f"{entry['code']}{many}"
    if before and after:
        return ", ".join(f"{name}: {before.get(name)} -> {value}" for name, value in after.items())
    found = after or entry["asked"]
    return ", ".join(f"{name}: {value}" for name, value in found.items() if value not in (None, "", {}))
