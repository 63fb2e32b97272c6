"""Print steps, tables, CSV and questions.

A step is one line with its duration. While it runs, it shows its newest detail.
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
    """Return text that rich prints unchanged, on one line.

    Markup and control characters are escaped.
    """
    return escape(printable(str(text), keep=""))


def columns(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print a table in its full width. The columns named in `right` are right-aligned."""
    table = [head, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    for number, row in enumerate(table):
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        console.print(literal("  ".join(cells).rstrip()), style="bold" if number == 0 else None)


def write_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV.

    No cell is a formula for a spreadsheet or an escape sequence for a terminal.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([printable(inert(cell), keep="") for cell in row] for row in rows)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def show(table: Table) -> None:
    """Print a table. Without a terminal, print it in its full width."""
    out = console if console.is_terminal else Console(width=_WIDE, highlight=False)
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


@contextmanager
def step(name: str) -> Iterator[Detail]:
    """Show a step while the block runs. Yield a function that shows a detail of the step.

    On a terminal the detail is shown beside a spinner. Elsewhere, a line is printed when the step
    begins and another when it ends.
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
    """Raise CommandError with `message` if standard input is not a terminal.

    Without a terminal, no user can answer a question.
    """
    if not sys.stdin.isatty():
        raise CommandError(message)


def confirm(question: str) -> bool:
    """Ask a question on the terminal and return whether the answer is yes."""
    console.print(f"{question} [y/N] ", end="")
    return input().strip().lower() in {"y", "yes"}
