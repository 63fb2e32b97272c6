"""Shows what is being done: one line a step, with its time, and the newest detail while it lasts."""

import csv
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cli.lib.printable import printable
from lambda_fn.cells import inert

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

_WIDE = 240
Detail = Callable[[str], None]


def literal(text: object) -> str:
    """Return any text as one that rich prints as it is: no markup, no control character, one line."""
    return escape(printable(str(text), keep=""))


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """Print a table as wide as it is; the columns of `right` are aligned so."""
    table = [head, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(head))]
    for number, row in enumerate(table):
        cells = [
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        ]
        console.print(literal("  ".join(cells).rstrip()), style="bold" if number == 0 else None)


def write_csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print CSV that neither a spreadsheet computes nor a terminal obeys."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([printable(inert(cell), keep="") for cell in row] for row in rows)


def show(table: Table) -> None:
    """Print a table; where no terminal is, as wide as it is."""
    out = console if console.is_terminal else Console(width=_WIDE, highlight=False)
    with out.capture() as captured:
        out.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


@contextmanager
def step(name: str) -> Iterator[Detail]:
    """Show a step while the block runs; the block may say what it is doing by calling what it gets.

    On a terminal the detail is shown beside a spinner. Elsewhere each step has one line when it begins and one when
    it ends.
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
