"""The report of a run as one HTML file: plots as inline SVG, light and dark, no network. Pure."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from cli.commands.load.report import WORDS, milliseconds
from cli.lib.printable import printable
from cli.lib.values import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_WIDTH, _HEIGHT = 720, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 32, 12, 30
_ORDER = (
    "complete", "dropped", "silent", "cut", "error", "disagrees", "malformed", "slow", "refused",
    "unreachable", "unsent",
)  # fmt: skip
_STYLE = """
:root { color-scheme: light dark; --bg: #fff; --ink: #1a1c1f; --dim: #667; --line: #d7dade;
  --complete: #2f8f57; --dropped: #9aa3ad; --silent: #c2410c; --cut: #dc2626; --error: #9d174d;
  --disagrees: #7e22ce; --malformed: #854d0e; --slow: #ca8a04; --refused: #1d4ed8;
  --unreachable: #0f172a; --unsent: #64748b; --first: #1d4ed8; --second: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171a; --ink: #e6e8ea; --dim: #9aa3ad;
  --line: #343a40; --complete: #4ade80; --dropped: #6b7280; --silent: #fb923c; --cut: #f87171;
  --error: #f472b6; --disagrees: #c084fc; --malformed: #d6a45c; --slow: #facc15;
  --refused: #60a5fa; --unreachable: #e2e8f0; --unsent: #94a3b8; --first: #60a5fa;
  --second: #fb923c; } }
body { margin: 0 auto; max-width: 780px; padding: 24px 16px 64px; background: var(--bg);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 17px; margin: 32px 0 8px; }
p { margin: 4px 0; } .dim { color: var(--dim); } .bad { color: var(--cut); }
.good { color: var(--complete); } .unsure { color: var(--slow); }
table { border-collapse: collapse; width: 100%; } th { text-align: left; font-weight: 600; }
th, td { padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { width: 100%; height: auto; display: block; } svg text { fill: var(--dim); font-size: 11px; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: 6px; }
.legend span { margin-right: 16px; }
"""


def page(report: Mapping[str, Any]) -> str:
    """Return the HTML of a report. All of the server's texts in it are escaped."""
    target, requests = report["target"], report["requests"]
    about = (target["url"], target["form"], target["model"], report["plan"].get("at", ""))
    said = (
        f"{requests['sent']:,} of {requests['planned']:,} requests sent in "
        f"{report['seconds']:.1f} s ({_planned(report['plan'])}), at most "
        f"{counted(requests['most_open'], 'stream')} at once."
        f"{' Ctrl-C ended the run.' if report['stopped'] else ''}"
    )
    parts = [
        "<h1>Load test</h1>",
        f'<p class="dim">{_text(" · ".join(map(str, about)))}</p>',
        f"<p>{_text(said)}</p>",
        *_verdicts(report),
        "<h2>Endings</h2>",
        _endings(report),
        _codes(report),
        "<h2>Latency of complete answers</h2>",
        _latencies(report),
    ]
    rows = report["intervals"]
    if rows:
        parts += [
            "<h2>Endings over time</h2>",
            _legend([(name, name) for name in _ORDER if report["endings"].get(name)]),
            _bars(rows),
            "<h2>First token over time</h2>",
            _legend([("first", "p50"), ("second", "p95")]),
            _lines(
                rows,
                [("first", "ttft_p50"), ("second", "ttft_p95")],
                milliseconds,
                report["goodput"]["objectives"]["ttft"],
            ),
            "<h2>Open streams</h2>",
            _lines(rows, [("first", "open")], lambda value: f"{value:,.0f}", None),
        ]
    curves = report["distributions"]
    if curves["ttft"]:
        parts += [
            "<h2>First token: share of answers</h2>",
            _cumulative([("first", curves["ttft"])]),
        ]
    if curves["itl"]:
        parts += [
            "<h2>Between tokens, and between chunks: share</h2>",
            _legend([("first", "tokens"), ("second", "chunks")]),
            _cumulative([("first", curves["itl"]), ("second", curves["chunk_gap"])]),
        ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        '<meta http-equiv="content-security-policy" content="default-src \'none\'; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>Load test</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _text(value: object) -> str:
    return escape(printable(str(value), keep=""))


def _planned(plan: Mapping[str, Any]) -> str:
    first, last = plan["rate"]
    rate = f"{first:g}" if first == last else f"{first:g} to {last:g}"
    return f"{rate} a second for {plan['seconds']:g} s, {plan['arrivals']}, seed {plan['seed']}"


def _verdicts(report: Mapping[str, Any]) -> list[str]:
    goodput, ledger, client = report["goodput"], report["ledger"], report["client"]
    lines = [
        _verdict(
            goodput["met"],
            f"{goodput['good']:,} of {goodput['of']:,} requests were good "
            f"({goodput['share']:.1%}; {goodput['objectives']['share']:.0%} wanted)",
        )
    ]
    if ledger["agrees"] is None:
        lines.append(_verdict(None, f"not compared with a ledger: {ledger['why']}"))
    else:
        words = "agrees" if ledger["agrees"] else "does not agree"
        pairs = "; ".join(
            f"{it['ending']} here, {it['outcome']} there: {it['count']:,}"
            for it in ledger["matrix"]
        )
        lines.append(_verdict(ledger["agrees"], f"the ledger {words}. {pairs}"))
    if client["bottleneck"]:
        text = "; ".join(client["bottleneck"])
        lines.append(_verdict(None, f"this client may have been the bottleneck: {text}"))
    return lines


def _verdict(good: bool | None, text: str) -> str:
    kind = "unsure" if good is None else "good" if good else "bad"
    sign = {"unsure": "?", "good": "✓", "bad": "✗"}[kind]
    return f'<p><span class="{kind}">{sign}</span> {_text(text)}</p>'


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int]) -> str:
    """Return a table of HTML texts. `numbers` are the columns to align right."""

    def row(cells: Sequence[str], tag: str) -> str:
        marks = (' class="n"' if at in numbers else "" for at in range(len(cells)))
        return (
            "<tr>"
            + "".join(
                f"<{tag}{mark}>{cell}</{tag}>" for cell, mark in zip(cells, marks, strict=True)
            )
            + "</tr>"
        )

    return f"<table>{row(head, 'th')}{''.join(row(cells, 'td') for cells in rows)}</table>"


def _endings(report: Mapping[str, Any]) -> str:
    whole = sum(report["endings"].values()) or 1
    rows = [
        (
            f'<span class="key" style="background: var(--{name})"></span>{name}',
            f"{count:,}",
            f"{count / whole:.1%}",
            _text(WORDS[name]),
        )
        for name, count in report["endings"].items()
        if count
    ]
    return _table(("ending", "requests", "share", "what it means"), rows, (1, 2))


def _codes(report: Mapping[str, Any]) -> str:
    if not report["codes"]:
        return ""
    rows = [(_text(it["ending"]), _text(it["code"]), f"{it['count']:,}") for it in report["codes"]]
    return "<h2>Codes</h2>" + _table(("ending", "code", "requests"), rows, (2,))


def _latencies(report: Mapping[str, Any]) -> str:
    figures = ("p50", "p90", "p95", "p99", "max")
    names = {
        "ttft": "first token, from the planned moment",
        "itl": "between tokens",
        "chunk_gap": "between chunks",
        "duration": "whole answer",
        "connect": "connecting",
    }
    rows = [
        (text, *(milliseconds(report[name][figure]) for figure in figures))
        for name, text in names.items()
        if report[name]
    ]
    if not rows:
        return "<p>No answer was complete, so there are none.</p>"
    return _table(("", *figures), rows, (1, 2, 3, 4, 5))


def _legend(entries: Sequence[tuple[str, str]]) -> str:
    spans = "".join(
        f'<span><span class="key" style="background: var(--{color})"></span>{_text(text)}</span>'
        for color, text in entries
    )
    return f'<p class="legend dim">{spans}</p>'


def _svg(parts: Sequence[str]) -> str:
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">{"".join(parts)}</svg>'


def _y(value: float, most: float) -> float:
    return _HEIGHT - _BOTTOM - value / (most or 1) * (_HEIGHT - _TOP - _BOTTOM)


def _ceiling(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return float(next(step * power for step in (1, 2, 5, 10) if value <= step * power * 1.0001))


def _grid(most: float, text: Callable[[float], str]) -> list[str]:
    parts = []
    for share in (0.0, 0.5, 1.0):
        y = _y(share * most, most)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="var(--line)"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_text(text(share * most) if share else "0")}'
            "</text>"
        )
    return parts


def _seconds_axis(rows: Sequence[Mapping[str, Any]], scale: Callable[[int], float]) -> list[str]:
    step = max(1, len(rows) // 6)
    return [
        f'<text x="{scale(at):.1f}" y="{_HEIGHT - 10}" text-anchor="middle">'
        f"{rows[at]['second']} s</text>"
        for at in range(0, len(rows), step)
    ]


def _bars(rows: Sequence[Mapping[str, Any]]) -> str:
    most = _ceiling(max(sum(row["endings"].values()) for row in rows))
    width = (_WIDTH - _LEFT - _RIGHT) / len(rows)
    parts = _grid(most, lambda value: f"{value:g}")
    for at, row in enumerate(rows):
        below = 0
        for name in _ORDER:
            count = row["endings"].get(name, 0)
            if not count:
                continue
            top, bottom = _y(below + count, most), _y(below, most)
            parts.append(
                f'<rect x="{_LEFT + at * width:.2f}" y="{top:.2f}" '
                f'width="{max(0.6, width - 0.6):.2f}" height="{bottom - top:.2f}" '
                f'fill="var(--{name})"><title>{row["second"]} s: {count} {name}</title></rect>'
            )
            below += count
    return _svg([*parts, *_seconds_axis(rows, lambda at: _LEFT + at * width)])


def _lines(
    rows: Sequence[Mapping[str, Any]],
    fields: Sequence[tuple[str, str]],
    text: Callable[[float], str],
    bound: float | None,
) -> str:
    values = [row[name] for row in rows for _, name in fields if row[name] is not None]
    most = _ceiling(max([*values, bound or 0], default=1))
    width = (_WIDTH - _LEFT - _RIGHT) / max(1, len(rows) - 1)
    parts = _grid(most, text)
    if bound is not None:
        y = _y(bound, most)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
            'stroke="var(--cut)" stroke-dasharray="4 4"/>'
        )
    for color, name in fields:
        points = [
            f"{_LEFT + at * width:.1f},{_y(row[name], most):.1f}"
            for at, row in enumerate(rows)
            if row[name] is not None
        ]
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="var(--{color})" '
            'stroke-width="1.5"/>'
        )
    return _svg([*parts, *_seconds_axis(rows, lambda at: _LEFT + at * width)])


def _cumulative(curves: Sequence[tuple[str, Sequence[Sequence[float]]]]) -> str:
    """Return curves of shares over a logarithmic scale of milliseconds."""
    values = [point[0] for _, curve in curves for point in curve]
    low = math.floor(math.log10(max(0.01, min(values))))
    high = max(low + 1, math.ceil(math.log10(max(0.1, *values))))
    parts = _grid(1.0, lambda value: f"{value:.0%}")

    def x(value: float) -> float:
        place = (math.log10(max(10.0**low, value)) - low) / (high - low)
        return _LEFT + place * (_WIDTH - _LEFT - _RIGHT)

    for power in range(low, high + 1):
        parts.append(
            f'<line x1="{x(10.0**power):.1f}" x2="{x(10.0**power):.1f}" y1="{_TOP}" '
            f'y2="{_HEIGHT - _BOTTOM}" stroke="var(--line)"/>'
            f'<text x="{x(10.0**power):.1f}" y="{_HEIGHT - 10}" text-anchor="middle">'
            f"{_text(milliseconds(10.0**power))}</text>"
        )
    for color, curve in curves:
        points = [f"{x(value):.1f},{_y(share, 1):.1f}" for value, share in curve]
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="var(--{color})" '
            'stroke-width="1.5"/>'
        )
    return _svg(parts)
