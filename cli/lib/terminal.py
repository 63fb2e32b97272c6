"""Print steps, tables, CSV and questions.

A step is one line with its duration. While it runs, it shows its newest detail.
"""

import csv
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from rich.text import Text

from cli.lib.printable import printable
from cli.lib.project import CommandError
from lambda_fn.cells import inert


class Output(Console):
    """A console whose lines wrap at spaces on a terminal, and nowhere else.

    A line with `soft_wrap=True`, or with a word that is longer than the terminal is wide, is left
    to the terminal: what users copy stays whole. So does code between backticks, if it fits a line.
    With NO_COLOR there are no styles at all.
    """

    def __init__(self, **options: Any) -> None:
        """Take the options of rich's Console."""
        plain: dict[str, Any] = {"color_system": None} if os.environ.get("NO_COLOR") else {}
        super().__init__(highlight=False, soft_wrap=True, **(plain | options))

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does. On a terminal, text wraps at spaces."""
        words = (word for it in objects if isinstance(it, str) for word in it.split())
        if self.is_terminal and max(map(cell_len, words), default=0) <= self.width:
            options.setdefault("soft_wrap", False)
        if options == {"soft_wrap": False} and all(isinstance(it, str) for it in objects):
            text = self.render_str(" ".join(map(str, objects)))
            objects, options = (self._wrapped(text),), {"soft_wrap": True}
        super().print(*objects, **options)

    def _wrapped(self, text: Text) -> Text:
        """Return a text with line ends where it wraps at spaces outside of code."""
        kept = text.copy()
        kept.plain = _CODE.sub(
            lambda code: (
                code[0].replace(" ", _HELD) if cell_len(code[0]) <= self.width else code[0]
            ),
            text.plain,
        )
        lines = kept.wrap(self, self.width)
        for line in lines:
            line.plain = line.plain.replace(_HELD, " ")
            line.rstrip()
        return Text("\n").join(lines)


_CODE = re.compile(r"`[^`\n]*`")
_HELD = "\ue000"
"""A character of private use, in place of a space at which no line may end."""

console = Output()
errors = Output(stderr=True)

_GAP = 2
_FOLDED = 32
"""Longer words, such as addresses, may be broken."""
Detail = Callable[[str], None]


def literal(text: object) -> str:
    """Return text that rich prints unchanged, on one line.

    Markup and control characters are escaped.
    """
    return escape(printable(str(text), keep=""))


def columns(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
) -> None:
    """Print a table of texts. The columns named in `right` are numbers, and right-aligned."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in head:
        table.add_column(literal(name), justify="right" if name in right else "left")
    for row in rows:
        table.add_row(*map(literal, row))
    show(table)


def sentence(text: str) -> None:
    """Print a text that wraps at spaces, within the width of tables."""
    console.print(text, soft_wrap=False)


def item(head: str, text: str) -> None:
    """Print an item of a list. On a terminal, its text wraps in a column beside the head."""
    if not console.is_terminal:
        console.print(head, text)
        return
    grid = Table.grid(padding=(0, 1), pad_edge=False)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(head, text)
    console.print(grid)


def show_error(error: Exception) -> None:
    """Print an error's text, which says what happened, on the stream of errors."""
    errors.print("[red]✗[/red]", escape(printable(str(error))))


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
    """Print a table within the width of the terminal (COLUMNS, else 80 without a terminal).

    Texts and heads wrap at spaces; cells of right-aligned columns and those with `no_wrap` do not.
    If the columns do not fit beside each other, each row is printed as lines of a name and a value.
    """
    if (room := _room(table)) < 0:  # without the columns that are empty, it may fit
        left = [column for column in table.columns if any(column.cells)]
        table.columns = [replace(column, _index=number) for number, column in enumerate(left)]
        room = _room(table)
    if room < 0:
        table = _records(table)
    else:
        for column in table.columns:
            narrow, whole = _widths(column)
            wider = min(room, whole - narrow)
            column.width, column.overflow, room = narrow + wider, "fold", room - wider
            column.no_wrap = False  # it is as wide as its cells; its head may wrap
    with console.capture() as captured:
        console.print(table, soft_wrap=False)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")


def _room(table: Table) -> int:
    """Return how many cells are left when each column has its least width; negative: too few."""
    least = [_widths(column)[0] for column in table.columns]
    return console.width - _GAP * (len(least) - 1) - sum(least)


def _widths(column: Column) -> tuple[int, int]:
    """Return the least width of a column, and the width of its longest text."""
    head, *cells = [_plain(part) for part in (column.header, *column.cells, column.footer)]
    whole = max(map(cell_len, cells), default=0)
    longest = max((cell_len(word) for word in " ".join(cells).split()), default=0)
    heading = max((cell_len(word) for word in head.split()), default=0)
    fixed = column.no_wrap or column.justify == "right"
    return max(heading, whole if fixed else min(_FOLDED, longest)), max(cell_len(head), whole)


def _plain(part: object) -> str:
    """Return a head, cell or foot without its markup."""
    return Text.from_markup(part).plain if isinstance(part, str) else str(part)


def _records(table: Table) -> Table:
    """Return a table with two columns: for each row, its fields below each other."""
    records = Table(box=None, show_header=False, pad_edge=False)
    records.add_column(style="bold", no_wrap=True)
    records.add_column(overflow="fold")
    rows = zip(*(column.cells for column in table.columns), strict=True)
    for number, row in enumerate(rows):
        if number:
            records.add_row("", "")
        for column, cell in zip(table.columns, row, strict=True):
            if cell != "":
                records.add_row(column.header, cell)
    if table.show_footer:
        records.add_row("", "")
        for column in table.columns:
            if column.footer:
                records.add_row(column.header, column.footer)
    return records


@contextmanager
def step(name: str) -> Iterator[Detail]:
    """Show a step while the block runs. Yield a function that shows a detail of the step.

    On a terminal the detail is shown beside a spinner. Elsewhere, a line is printed when the step
    begins and another when it ends.
    """
    started = time.monotonic()
    if console.is_terminal:
        with console.status(f"{name} …") as status:
            room = max(0, console.width - len(name) - 8)
            yield lambda detail: status.update(f"{name} … [dim]{literal(_end(detail, room))}[/dim]")
    else:
        console.print(f"  … {name}")
        yield lambda detail: None
    console.print(f"[green]✓[/green] {name} [dim]({time.monotonic() - started:.1f} s)[/dim]")


def _end(text: str, room: int) -> str:
    """Return the end of a text: a tool's line ends with what it is about."""
    return text if len(text) <= room else f"…{text[len(text) - room + 1 :]}" if room > 1 else ""


def require_terminal(message: str) -> None:
    """Raise CommandError with `message` if standard input is not a terminal.

    Without a terminal, no user can answer a question.
    """
    if not sys.stdin.isatty():
        raise CommandError(message)


def confirm(question: str) -> bool:
    """Ask a question on the terminal and return whether the answer is yes."""
    console.print(f"{question} \\[y/N] ", end="")  # escaped: it would be a style
    return input().strip().lower() in {"y", "yes"}
