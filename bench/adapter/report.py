"""Render results: tables for the terminal, and parts of docs/explanation/performance.md.

    python -m bench.adapter.report        from bench/results/*.json

The page gets a table, the targets and the plots.
"""

import json
import sys
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.adapter.plot import bars
from bench.adapter.targets import Rows, Verdict, verdicts

RESULTS = Path("bench/results")
PAGE = Path("docs/explanation/performance.md")
PLOT = Path("docs/explanation/performance-cpu.svg")
_COLUMNS = {
    "server": "server",
    "cpu_us_per_token": "CPU us/token",
    "ttft_added_ms_p50": "TTFT + p50",
    "ttft_added_ms_p99": "p99 ms",
    "itl_ms_p50": "ITL p50",
    "itl_ms_p99": "p99 ms",
    "tokens_per_s": "tokens/s",
    "rss_mb": "MB",
    "notes": "",
}

_LOCAL = {
    "seconds to the first token": "first_token_s",
    "idle CPU, per cent of a core": "idle_cpu_percent",
    "memory, MB (PSS)": "memory_mb",
}
"""The figures of a local cloud, and their names in its results."""


def _cells(row: dict[str, Any]) -> list[str]:
    notes = [] if row["complete"] else ["INCOMPLETE"]
    notes += ["merged records"] if row["merged"] else []
    notes += ["over capacity"] if row["over_capacity"] else []
    return [*(str(row[name]) for name in _COLUMNS if name != "notes"), ", ".join(notes)]


def _title(row: dict[str, Any]) -> str:
    pace = "flat out" if row["mode"] == "flat" else f"{row['mode']} tokens/s"
    return f"{row['streams']} stream{'s' if row['streams'] > 1 else ''}, {pace}"


def _groups(rows: Rows) -> dict[str, Rows]:
    groups: dict[str, Rows] = {}
    for row in rows:
        groups.setdefault(_title(row), []).append(row)
    return groups


def print_rows(rows: Rows) -> None:
    """Print a table for each mode and number of streams."""
    console = Console(width=120)
    for title, group in _groups(rows).items():
        table = Table(title=title, title_justify="left")
        for name in _COLUMNS.values():
            table.add_column(name, justify="left" if name in ("server", "") else "right")
        for row in group:
            table.add_row(*_cells(row))
        console.print(table)


def print_verdicts(results: list[Verdict]) -> None:
    """Print each target with its figure."""
    console = Console(width=140)
    for verdict in results:
        mark = {True: "[green]met    [/green]", False: "[red]not met[/red]", None: "not run"}[
            verdict.met
        ]
        console.print(f"{mark}  {verdict.name}: {verdict.figure}, target {verdict.bound}")


def _markdown(rows: Rows) -> str:
    lines = []
    for title, group in _groups(rows).items():
        lines += [
            f"**{title}**",
            "",
            "| " + " | ".join(_COLUMNS.values()) + " |",
            "|---" * len(_COLUMNS) + "|",
        ]
        lines += ["| " + " | ".join(_cells(row)) + " |" for row in group] + [""]
    return "\n".join(lines)


def _targets(results: list[Verdict]) -> str:
    labels = {True: "met", False: "**not met**", None: "not run"}
    lines = ["| target | figure | bound | |", "|---|---|---|---|"]
    lines += [
        f"| {verdict.name} | {verdict.figure} | {verdict.bound} | {labels[verdict.met]} |"
        for verdict in results
    ]
    return "\n".join(lines) + "\n"


def _cold(cold: dict[str, Any]) -> str:
    names = {
        "ready_cpu_s": "CPU s to ready",
        "ready_wall_s": "wall s",
        "ready_rss_mb": "MB then",
        "first_cpu_s": "CPU s to the first byte",
        "first_wall_s": "wall s",
    }
    lines = ["| server | " + " | ".join(names.values()) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [
        f"| {row['server']} | " + " | ".join(str(row[name]) for name in names) + " |"
        for row in cold["servers"]
    ]
    lines += ["", "| package | zip MB | unzipped MB | bytecode |", "|---|---|---|---|"]
    lines += [
        (
            f"| {entry['target']} | {entry['zip_mb']} | {entry['unzipped_mb']} | "
            f"{entry['bytecode'] or 'none'} |"
        )
        for entry in cold["packages"]
    ]
    lines += ["", "| import | ms by itself |", "|---|---|"]
    lines += [f"| `{entry['module']}` | {entry['ms']} |" for entry in cold["imports"]]
    return "\n".join(lines) + "\n"


def _memory(figures: dict[str, Any]) -> str:
    lines = ["| | |", "|---|---|"]
    resident = ", ".join(str(megabytes) for megabytes in figures["resident_mb"])
    lines += [
        f"| MB resident after each tenth of {figures['streams']} streams | {resident} |",
        f"| MB grown in the second half | {figures['growth_mb']} |",
        (
            f"| kB for each of {figures['slow_readers']} readers that do not read | "
            f"{figures['slow_reader_kb']} |"
        ),
    ]
    return "\n".join(lines) + "\n"


def _filters(rows: list[dict[str, Any]]) -> str:
    lines = ["| row | CPU of a token, us | added, us | late by tokens, mean | most |"]
    lines.append("|---|---|---|---|---|")
    names = ("row", "us_per_token", "added_us_per_token", "tokens_late_mean", "tokens_late_most")
    lines += [f"| {' | '.join(str(row.get(name, '')) for name in names)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _features(rows: list[dict[str, Any]]) -> str:
    lines = ["| row | CPU of a token, us | beside | times | bound |", "|---|---|---|---|---|"]
    names = ("row", "cpu_us_per_token", "beside", "times", "bound")
    lines += [f"| {' | '.join(str(row[name] or '') for name in names)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _local(result: dict[str, Any]) -> str:
    lines = [
        fill(f"Run: {_described(result['machine'])}.", 100),
        "",
        "| figure | measured | bound |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {result[key]} | {result['bounds'][key]:g} |" for name, key in _LOCAL.items()
    ]
    return "\n".join(lines) + "\n"


def _machine(run: str) -> str:
    return _described(json.loads((RESULTS / f"{run}.machine.json").read_text()))


def _described(where: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in where.items())


def _replace(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{content.strip()}\n{end}{tail}"


def main() -> int:
    """Render the existing results into the page."""
    rows: Rows = json.loads((RESULTS / "adapter.json").read_text())
    cold_file = RESULTS / "coldstart.json"
    cold = json.loads(cold_file.read_text()) if cold_file.exists() else None
    described = f"Run: {_machine('adapter')}."
    text = PAGE.read_text()
    paced_file = RESULTS / "paced.json"
    paced: Rows = json.loads(paced_file.read_text()) if paced_file.exists() else []
    if paced:
        text = _replace(text, "paced", _markdown(paced))
        described += f"\nRun of paced streams: {_machine('paced')}."
    judged = _targets(verdicts(rows + paced, cold))  # of two rows alike, the last one counts
    text = _replace(text, "targets", f"{fill(described, 100)}\n\n{judged}")
    text = _replace(text, "rows", _markdown(rows))
    if cold is not None:
        text = _replace(text, "coldstart", _cold(cold))
    memory_file = RESULTS / "memory.json"
    if memory_file.exists():
        text = _replace(text, "memory", _memory(json.loads(memory_file.read_text())))
    filters_file = RESULTS / "filters.json"
    if filters_file.exists():
        text = _replace(text, "filters", _filters(json.loads(filters_file.read_text())))
    features_file = RESULTS / "features.json"
    if features_file.exists():
        rows_of = _features(json.loads(features_file.read_text()))
        if (RESULTS / "features.machine.json").exists():
            run = fill(f"Run: {_machine('features')}.", 100)
            rows_of = f"{run}\n\n{rows_of}"
        text = _replace(text, "features", rows_of)
    local_file = RESULTS / "local_cloud.json"
    if local_file.exists():
        text = _replace(text, "local", _local(json.loads(local_file.read_text())))
    PAGE.write_text(text)
    PLOT.write_text(bars(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
