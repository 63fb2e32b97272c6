"""Print steps, tables, CSV and questions. A step is one line with its time, and its newest detail
while it runs.
"""

import csv
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.lib.printable import printable
from cli.lib.project import CommandError
from lambda_fn.cells import inert

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

_WIDE = 240
Detail = Callable[[str], None]


def literal(text: object) -> str:
    """Return a text that rich prints unchanged: without markup or control characters, on one
    line.
    """
    return escape(printable(str(text), keep=""))


def columns(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print a table in its full width. The columns that `right` names are aligned to the right."""
    table = [head, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    for number, row in enumerate(table):
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        console.print(literal("  ".join(cells).rstrip()), style="bold" if number == 0 else None)


def write_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV whose cells are neither formulas for a spreadsheet nor escape sequences for a
    terminal.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([printable(inert(cell), keep="") for cell in row] for row in rows)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show(table: Table) -> None:
    """Print a table; without a terminal, in its full width."""
    out = console if console.is_terminal else Console(width=_WIDE, highlight=False)
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


@contextmanager
def step(name: str) -> Iterator[Detail]:
    """Print a step while the block runs. Yields a function that prints a detail of the step.

    On a terminal the detail is shown beside a spinner. Elsewhere a step is a line when it begins
    and one when it ends.
    """
    started = time.monotonic()
    if console.is_terminal:
        with console.status(f"{name} …") as status:
            room = max(20, console.width - len(name) - 8)
            yield lambda detail: status.update(f"{name} … [dim]{literal(detail[:room])}[/dim]")
    else:
        console.print(f"  … {name}")
        yield lambda detail: None
    console.print(f"[green]✓[/green] {name} [dim]({time.monotonic() - started:.1f} s)[/dim]")


def require_terminal(message: str) -> None:
    """Raise CommandError with `message` if nobody can answer a question, because standard input is
    not a terminal.
    """
    if not sys.stdin.isatty():
        raise CommandError(message)


def confirm(question: str) -> bool:
    """Ask a question on the terminal and return whether the answer is yes."""
    console.print(f"{question} [y/N] ", end="")
    return input().strip().lower() in {"y", "yes"}
