"""Chooses the checks to run, and prints the plan, the progress and the results."""

from collections import Counter
from collections.abc import Sequence

from cli.commands.verify.registry import WAVES, Check, Verdict, Wave, all_checks
from cli.commands.verify.runner import Result, plan
from cli.commands.verify.target import Target
from cli.lib.command_line import meant
from cli.lib.project import UsageError
from cli.lib.terminal import columns, console, item, literal, print_json
from cli.lib.values import counted

_SIGNS: dict[Verdict, str] = {
    "proven": "[green]✓[/green]",
    "refuted": "[red]✗[/red]",
    "unknown": "[yellow]?[/yellow]",
    "not deployed": "[dim]-[/dim]",
    "needs AWS": "[dim]-[/dim]",
}


def chosen(only: Sequence[str] | None, *, destructive: bool, gpu: bool) -> list[Check]:
    """Return the checks to run, in the order of the table.

    Raises:
        CommandError: an id is unknown, or needs an option that is missing.

    """
    checks = all_checks()
    known = {check.id for check in checks}
    if strange := [name for name in only or () if name not in known]:
        near = meant(strange[0], known)
        hint = f"Did you mean {near}?" if near else "`sluice verify --list` lists them."
        raise UsageError(f"There is no check {strange[0]!r}. {hint}")
    closed = {Wave.DESTRUCTIVE: destructive, Wave.GPU: gpu}
    if only:
        checks = tuple(check for check in checks if check.id in only)
        for check in checks:
            if not closed.get(check.wave, True):
                option = "--destructive" if check.wave is Wave.DESTRUCTIVE else "--gpu"
                raise UsageError(f"The check {check.id} runs with {option} only.")
    return [check for check in checks if closed.get(check.wave, True)]


def show_checks(checks: Sequence[Check], *, as_json: bool) -> None:
    """Print checks with their wave, time and cost."""
    if as_json:
        print_json(
            [
                {
                    "id": check.id,
                    "wave": check.wave.name.lower(),
                    "seconds": check.seconds,
                    "usd": check.usd,
                    "how": check.how,
                }
                for check in checks
            ]
        )
        return
    rows = [
        (check.id, check.wave.name.lower(), f"{check.seconds}", f"{check.usd:.2f}", check.how)
        for check in checks
    ]
    columns(("id", "wave", "seconds", "USD", "how"), rows, right=("seconds", "USD"))


def show_plan(target: Target, checks: Sequence[Check]) -> None:
    """Print the plan of a run: its checks, time and cost."""
    usable = [check for check in checks if target.stage != "local" or check.local]
    console.print(f"{target.stack}: {len(usable)} of {len(checks)} checks run.")
    minutes, usd = 0.0, 0.0
    for wave, count, its_minutes, its_usd in plan(usable):
        minutes, usd = minutes + its_minutes, usd + its_usd
        figures = f"{counted(count, 'check')}, {its_minutes:.1f} min, {its_usd:.2f} USD"
        item(f"  wave {wave.value}:", f"{figures}: {WAVES[wave]}")
    if target.stage != "local":
        console.print(
            f"At most {minutes:.0f} minutes and {usd:.2f} USD, beside the deployment's own hours."
        )
    console.print()


def show(result: Result) -> None:
    """Print a result."""
    sign = _SIGNS[result.outcome.verdict]
    told = literal(f"{result.check.id:<18} {result.outcome.verdict:<12}")
    item(f"{sign} {told}", f"[dim]{literal(result.outcome.evidence)}[/dim]")


def summary(results: Sequence[Result]) -> str:
    """Return the number of results by verdict."""
    counts = Counter(result.outcome.verdict for result in results)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in _SIGNS if counts[verdict])


def status(results: Sequence[Result]) -> int:
    """Return the exit status: 1 if a row is refuted, 2 if a check could not tell, else 0.

    Checks that are not deployed, or that need AWS, are not counted.
    """
    verdicts = {result.outcome.verdict for result in results}
    return 1 if "refuted" in verdicts else 2 if "unknown" in verdicts else 0
