"""A dashboard of CloudWatch as one light SVG: its widgets, with the metrics of the local cloud.

CloudWatch's console draws them on AWS. Lines of an expression are computed by the local cloud's
metric math. A widget over logs is left empty.
"""

import datetime
import math
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from local.moto.alarms.expression import Inputs, evaluate

_COLUMN, _ROW = 24, 18
"""Pixels of a column and of a row of CloudWatch's grid, which has 24 columns."""
_COLOURS = ("#1d4ed8", "#c2410c", "#2f8f57", "#9d174d", "#ca8a04", "#0f766e", "#7e22ce", "#64748b")
_LEFT, _TOP, _BOTTOM, _LEGEND = 30, 24, 8, 8
Series = list[float | None]


def picture(body: Mapping[str, Any], cloudwatch: Any, *, since: float, until: float) -> str:
    """Return a dashboard's SVG. `cloudwatch` is boto3's client; times are Unix seconds."""
    widgets = body["widgets"]
    since, until = math.floor(since), math.ceil(until)  # timestamps come back in whole seconds
    height = max(it["y"] + it["height"] for it in widgets) * _ROW
    drawn = "".join(_widget(it, cloudwatch, since, until) for it in widgets)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * _COLUMN} {height}" '
        'font-family="system-ui,sans-serif" font-size="6">'
        f'<rect width="100%" height="100%" fill="#f4f5f7"/>{drawn}</svg>'
    )


def _widget(widget: Mapping[str, Any], cloudwatch: Any, since: float, until: float) -> str:
    left, top = widget["x"] * _COLUMN + 2, widget["y"] * _ROW + 2
    width, height = widget["width"] * _COLUMN - 4, widget["height"] * _ROW - 4
    properties = widget["properties"]
    inner = ""
    if widget["type"] == "metric":
        inner = _plot(_series(properties, cloudwatch, since, until), properties, width, height)
    else:
        inner = _note("Lambda's own log lines, on AWS", width, height)
    title = properties["title"]
    size = min(6.0, 6.0 * 36 / len(title))
    return (
        f'<g transform="translate({left},{top})"><rect width="{width}" height="{height}" rx="2" '
        f'fill="#fff" stroke="#d7dade" stroke-width=".5"/><text x="5" y="10" font-weight="600" '
        f'font-size="{size:.1f}" fill="#1a1c1f">{escape(title)}</text>{inner}</g>'
    )


def _series(
    properties: Mapping[str, Any], cloudwatch: Any, since: float, until: float
) -> list[tuple[str, Series]]:
    """Return the visible lines of a widget: label and values."""
    # A run of a minute would have one point in each of CloudWatch's periods.
    hourly = properties["period"] >= 3600
    step = math.ceil(until - since) if hourly else max(5, math.ceil((until - since) / 30))
    times = [since + number * step for number in range(math.ceil((until - since) / step))]
    found: dict[str, Series] = {}
    lines: list[tuple[str, Series]] = []
    for line in properties["metrics"]:
        options = line[-1] if isinstance(line[-1], dict) else {}
        if "expression" in options:
            values = evaluate(options["expression"], Inputs(found, len(times), step))
        else:
            namespace, name, *pairs = (it for it in line if isinstance(it, str))
            values = _values(
                cloudwatch,
                namespace,
                name,
                dict(zip(pairs[::2], pairs[1::2], strict=True)),
                options.get("stat", properties["stat"]),
                times,
                step,
            )
            found[options.get("id", f"_{len(found)}")] = values
        if options.get("visible", True):
            lines.append((str(options.get("label", "")), values))
    return lines


def _values(
    cloudwatch: Any,
    namespace: str,
    name: str,
    dimensions: Mapping[str, str],
    stat: str,
    times: list[float],
    step: int,
) -> Series:
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=[
            {
                "Id": "q",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace,
                        "MetricName": name,
                        "Dimensions": [
                            {"Name": key, "Value": value} for key, value in dimensions.items()
                        ],
                    },
                    "Period": step,
                    "Stat": stat,
                },
            }
        ],
        StartTime=datetime.datetime.fromtimestamp(times[0], datetime.UTC),
        EndTime=datetime.datetime.fromtimestamp(times[-1] + step, datetime.UTC),
    )
    [result] = answer["MetricDataResults"]
    values: Series = [None] * len(times)
    for at, value in zip(result["Timestamps"], result["Values"], strict=True):
        place = int((at.timestamp() - times[0]) // step)
        if 0 <= place < len(values):
            values[place] = value
    return values


def _plot(
    lines: Iterable[tuple[str, Series]], properties: Mapping[str, Any], width: float, height: float
) -> str:
    drawn = [(label, values) for label, values in lines if any(it is not None for it in values)]
    if not drawn:
        return _note("no data", width, height)
    most = max(it for _, values in drawn for it in values if it is not None) or 1.0
    columns = 2 if all(len(label) <= 14 for label, _ in drawn) else 1
    rows = math.ceil(len(drawn) / columns)
    bottom = height - _BOTTOM - _LEGEND * rows
    tall, wide = bottom - _TOP, width - _LEFT - 8
    out = [
        f'<path d="M{_LEFT} {y:.1f}h{wide:.1f}" stroke="#e5e7eb" stroke-width=".5"/>'
        f'<text x="{_LEFT - 3}" y="{y + 2:.1f}" text-anchor="end" fill="#667">{_figure(value)}</text>'
        for y, value in ((bottom, 0.0), (bottom - tall / 2, most / 2), (bottom - tall, most))
    ]
    unit = properties["yAxis"]["left"].get("label", "")
    out.append(f'<text x="5" y="{_TOP - 5}" fill="#667">{escape(unit)}</text>')
    for number, (label, values) in enumerate(drawn):
        colour = _COLOURS[number % len(_COLOURS)]
        places = [
            (_LEFT + wide * place / max(1, len(values) - 1), bottom - tall * it / most)
            for place, it in enumerate(values)
            if it is not None
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        out.append(
            f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1"/>'
            if len(places) > 1
            else f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="1.5" fill="{colour}"/>'
        )
        x = 8 + (number % columns) * (width / 2 - 4)
        y = height - _LEGEND * (rows - number // columns) + 3
        out.append(
            f'<rect x="{x:.1f}" y="{y - 5:.1f}" width="5" height="5" rx="1" fill="{colour}"/>'
            f'<text x="{x + 7:.1f}" y="{y:.1f}" fill="#444">{escape(label[:40])}</text>'
        )
    return "".join(out)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.2g}"


def _note(text: str, width: float, height: float) -> str:
    return (
        f'<text x="{width / 2}" y="{height / 2}" text-anchor="middle" fill="#9aa3ad">{text}</text>'
    )
