"""Print the report of a run for people."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from cli.lib.terminal import columns, console, item, literal, sentence, show
from cli.lib.values import counted

WORDS = {
    "complete": "a finish reason, the end marker and usage",
    "disagrees": "complete here, and something else in the ledger",
    "refused": "an error before the first byte",
    "error": "an error within the stream",
    "cut": "the connection broke",
    "silent": "ended properly, but the answer has no end",
    "malformed": "no answer of this form",
    "slow": "given up after --timeout or --silence",
    "unreachable": "no connection",
    "dropped": "left on purpose",
    "unsent": "not sent: too many streams were open",
}
"""What each ending means."""
_LATENCIES = (
    ("first token", "ttft"),
    ("between tokens", "itl"),
    ("between chunks", "chunk_gap"),
    ("whole answer", "duration"),
    ("connecting", "connect"),
)
_FIGURES = ("p50", "p90", "p95", "p99", "max")
_CODES = 8


def show_report(report: dict[str, Any]) -> None:
    """Print a report within the width of the terminal."""
    requests, target = report["requests"], report["target"]
    sentence(
        f"{requests['sent']:,} of {requests['planned']:,} requests sent in "
        f"{report['seconds']:.1f} s to {literal(target['url'])} ({target['form']}, "
        f"{literal(target['model'])}); at most {counted(requests['most_open'], 'stream')} at once"
        f"{'; Ctrl-C ended the run' if report['stopped'] else ''}"
    )
    console.print()
    _show_endings(report)
    console.print()
    _show_latencies(report)
    console.print()
    _show_verdicts(report)


def _show_endings(report: dict[str, Any]) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("ending")
    table.add_column("requests", justify="right")
    table.add_column("share", justify="right")
    table.add_column("what it means")
    whole = sum(report["endings"].values()) or 1
    for name, count in report["endings"].items():
        if count:
            style = "green" if name == "complete" else "dim" if name == "dropped" else "red"
            table.add_row(
                f"[{style}]{name}[/{style}]", f"{count:,}", f"{count / whole:.1%}", WORDS[name]
            )
    show(table)
    if report["codes"]:
        console.print()
        rows = [(it["ending"], it["code"], f"{it['count']:,}") for it in report["codes"][:_CODES]]
        columns(("ending", "code", "requests"), rows, right=("requests",))
        if (left := len(report["codes"]) - _CODES) > 0:
            console.print(f"[dim]and {left} more codes: --json has all[/dim]")


def _show_latencies(report: dict[str, Any]) -> None:
    rows = [
        (name, *(milliseconds(report[field][figure]) for figure in _FIGURES))
        for name, field in _LATENCIES
        if report[field]
    ]
    if not rows:
        console.print("No answer was complete, so there are no latencies.")
        return
    columns(("of complete answers", *_FIGURES), rows, right=_FIGURES)
    tokens = report["tokens"]
    per_chunk = tokens["per_chunk"]
    console.print(
        f"[dim]{tokens['completion']:,} tokens, {tokens['per_second']:,.1f} a second"
        + (f", {per_chunk:.2f} in a chunk" if per_chunk else "")
        + "[/dim]"
    )


def _show_verdicts(report: dict[str, Any]) -> None:
    goodput, ledger, client = report["goodput"], report["ledger"], report["client"]
    bounds = [
        f"{word} within {milliseconds(most)}"
        for word, name in (("first token", "ttft"), ("tokens", "itl"), ("all", "duration"))
        if (most := goodput["objectives"][name]) is not None
    ]
    wanted = ", ".join(["complete", *bounds])
    item(
        _sign(goodput["met"]),
        f"{goodput['good']:,} of {goodput['of']:,} good ({goodput['share']:.1%}, "
        f"{goodput['objectives']['share']:.0%} wanted): {wanted}; "
        f"{goodput['per_second']:.2f} good requests a second",
    )
    _show_ledger(ledger)
    if client["bottleneck"]:
        reasons = "; ".join(client["bottleneck"])
        item(
            "[yellow]?[/yellow]",
            f"This client may have been the bottleneck: {reasons}. Do not take the figures for "
            "the server's: lower --rate, or use a quieter or larger machine.",
        )
    else:
        loop = client["loop"] or {"p99": 0.0}
        item(
            _sign(True),
            f"the client kept up: {client['cpu_share']:.0%} of a core, event loop "
            f"{milliseconds(loop['p99'])} late at p99",
        )


def _show_ledger(ledger: dict[str, Any]) -> None:
    if ledger["agrees"] is None:
        item("[yellow]?[/yellow]", f"not compared with a ledger: {literal(ledger['why'])}")
        return
    counts: dict[str, dict[str, int]] = {}
    for it in ledger["matrix"]:
        counts.setdefault(it["ending"], {})[it["outcome"]] = it["count"]
    pairs = [
        f"{ending} = "
        + " + ".join(f"{count:,} {literal(outcome)}" for outcome, count in outcomes.items())
        for ending, outcomes in counts.items()
    ]
    sums = [
        f"{name.replace('_', ' ')} {it['client']:,} here, {it['ledger']:,} there"
        for name, it in ledger["sums"].items()
        if it["client"] != it["ledger"] and not ledger["agrees"]
    ]
    text = "the ledger agrees" if ledger["agrees"] else "the ledger does not agree"
    if pairs:
        text += f" (ending here = outcomes there): {'; '.join(pairs)}"
    if sums:
        text += f". Sums differ: {'; '.join(sums)}"
    if ledger["left"]:
        text += f". {_left(ledger)}"
    if ledger["open"]:
        text += f". {ledger['open']:,} are open: the sweeper settles them"
    if ledger["why"]:
        text += f" ({literal(ledger['why'])})"
    item(_sign(ledger["agrees"]), text)
    for it in ledger["disagreements"][:_CODES]:
        console.print(f"  [dim]{literal(it['request_id'])}[/dim] {literal(it['what'])}")


def _left(ledger: dict[str, Any]) -> str:
    """Return what became of the requests without an id that this client left, as a sentence."""
    many = ledger["left"] != 1
    text = (
        f"{counted(ledger['left'], 'request')} {'were' if many else 'was'} left without an answer, "
        f"so {'their ids are' if many else 'its id is'} not known"
    )
    more = [
        f"{count:,} {literal(name)}"
        for name, it in ledger["sums"].items()
        if (count := it["ledger"] - it["client"])
    ]
    return f"{text}; the ledger has {', '.join(more)} more" if more and ledger["agrees"] else text


def _sign(good: bool) -> str:
    return "[green]✓[/green]" if good else "[red]✗[/red]"


def milliseconds(value: float) -> str:
    """Return a time in milliseconds as text: `0.42 ms`, `431 ms` or `12.3 s`."""
    if value >= 10_000:
        return f"{value / 1000:.1f} s"
    if value >= 100:
        return f"{value:.0f} ms"
    return f"{value:.1f} ms" if value >= 1 else f"{value:.2f} ms"
