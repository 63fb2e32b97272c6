"""Plots as SVG, without a plotting library: the plots are small, such a library is not."""

import math
from typing import Any

_WIDTH, _BAR, _GAP, _LEFT, _RIGHT = 760, 18, 14, 150, 90
_COLOURS = {
    "sluice": "#0a7d5a",
    "sluice-per-invocation": "#3aa57f",
    "sluice-uvicorn": "#7cc5a9",
    "relay": "#8a8f98",
    "fastapi-boto3": "#d98c1f",
    "litellm": "#b5433a",
}
_STYLE = "font-family:system-ui,sans-serif;font-size:13px"


def bars(rows: list[dict[str, Any]]) -> str:
    """Return a plot of the CPU time a token of each server, on a logarithmic scale.

    It shows 8 and 32 streams flat out, and 32 streams at 50 tokens/s.
    """
    groups = [("flat", 8), ("flat", 32), (50, 32)]
    out: list[str] = []
    y = 30
    for mode, streams in groups:
        servers = [
            row
            for row in rows
            if (row["mode"], row["streams"], row["merged"]) == (mode, streams, False)
            and row["server"] in _COLOURS
        ]
        if not servers:
            continue
        pace = "flat out" if mode == "flat" else f"at {mode} tokens/s"
        out.append(_text(10, y, f"{streams} streams {pace}", weight=600))
        y += 10
        for row in sorted(servers, key=lambda row: float(row["cpu_us_per_token"])):
            length = _scale(row["cpu_us_per_token"])
            out.append(_text(_LEFT - 8, y + 14, row["server"], anchor="end"))
            out.append(
                f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" '
                f'fill="{_COLOURS[row["server"]]}"/>'
            )
            out.append(_text(_LEFT + length + 6, y + 14, f"{row['cpu_us_per_token']:g} us"))
            y += _BAR + 4
        y += _GAP + 14
    title = _text(10, 14, "CPU of the server for one token (microseconds, logarithmic)", weight=600)
    return _svg(
        y + 6,
        [
            title.replace('y="14"', 'y="16"'),
            *[f'<g transform="translate(0,18)">{"".join(out)}</g>'],
        ],
    )


def lines(
    series: dict[str, list[tuple[float, float]]], *, x_label: str, y_label: str, log_y: bool = False
) -> str:
    """Return a plot of lines over x from 0 to 1."""
    height, top, bottom = 360, 30, 50
    values = [value for points in series.values() for _, value in points if value > 0]
    low, high = (min(values), max(values)) if log_y else (0.0, max(values))

    def place(x: float, value: float) -> tuple[float, float]:
        span = math.log(high / low) if log_y else high - low
        part = (math.log(value / low) if log_y else value - low) / span
        return 70 + x * (_WIDTH - 250), height - bottom - part * (height - top - bottom)

    out = [
        _text(10, 18, y_label, weight=600),
        _text(_WIDTH / 2 - 90, height - 10, x_label, anchor="middle"),
    ]
    ticks = [low * (high / low) ** (part / 4) if log_y else high * part / 4 for part in range(5)]
    for tick in ticks:
        _, y = place(0, tick)
        out.append(f'<line x1="70" x2="{_WIDTH - 180}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        out.append(_text(64, y + 4, f"{tick:.3g}", anchor="end"))
    for percent in (0, 25, 50, 75, 100):
        x, _ = place(percent / 100, high)
        out.append(_text(x, height - bottom + 18, f"{percent} %", anchor="middle"))
    labels: list[float] = []
    palette = ["#0a7d5a", "#d98c1f", "#3b6fb6", "#b5433a", "#8a8f98"]
    for (name, points), colour in zip(series.items(), palette, strict=False):
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x, y = place(*points[-1])
        while any(abs(y - other) < 14 for other in labels):
            y += 14
        labels.append(y)
        out.append(_text(x + 6, y + 4, name, colour=colour))
    return _svg(height, out)


def _scale(value: float) -> float:
    return max(2.0, math.log10(max(1.0, value)) / 4 * (_WIDTH - _LEFT - _RIGHT))


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: int = 400, colour: str = "#333"
) -> str:
    return (
        f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-weight="{weight}" '
        f'fill="{colour}">{text}</text>'
    )


def _svg(height: float, parts: list[str]) -> str:
    box = f'<rect width="{_WIDTH}" height="{height:.0f}" fill="#fff"/>'
    body = "\n".join([box, *parts])
    size = f'width="{_WIDTH}" height="{height:.0f}" viewBox="0 0 {_WIDTH} {height:.0f}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} style="{_STYLE}">\n{body}\n</svg>\n'
