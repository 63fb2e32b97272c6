"""Shows what is being done: one line a step, with its time, and the newest detail while it lasts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

Detail = Callable[[str], None]


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
            yield lambda detail: status.update(f"{name} … [dim]{escape(detail[:room])}[/dim]")
    else:
        console.print(f"  … {name}")
        yield lambda detail: None
    console.print(f"[green]✓[/green] {name} [dim]({time.monotonic() - started:.1f} s)[/dim]")
