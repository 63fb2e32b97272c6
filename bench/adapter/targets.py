"""The targets of the stream function, computed from the rows.

Most are ratios between servers, because machines differ.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]
_PACED = [
    (server, streams, rate)
    for server in ("sluice", "sluice-uvloop")
    for streams in (32, 128)
    for rate in (20, 50, 100)
]
"""Servers, numbers of streams, which begin at once, and the tokens a second of each."""


@dataclass(frozen=True)
class Verdict:
    """One target: its text, the figure, the bound, and whether it is met.

    `met` is None if a row is missing.
    """

    name: str
    figure: str
    bound: str
    met: bool | None


def verdicts(rows: Rows, cold: dict[str, Any] | None = None) -> list[Verdict]:
    """Return a verdict on each target."""
    results = list(_cpu(rows))
    results += _latency(rows)
    results.append(
        Verdict(
            "every stream complete",
            f"{sum(row['complete'] for row in rows)} of {len(rows)} rows",
            "all",
            all(row["complete"] for row in rows),
        )
    )
    return results + (list(_cold(cold)) if cold else [])


def find(rows: Rows, server: str, mode: str | int, streams: int) -> dict[str, Any] | None:
    """Return the newest row of a server without merged records, or None."""
    key = (server, mode, streams, False)
    matching = [
        row for row in rows if (row["server"], row["mode"], row["streams"], row["merged"]) == key
    ]
    return matching[-1] if matching else None


def _cpu(rows: Rows) -> Iterable[Verdict]:
    for streams in (8, 32):
        for peer, bound in (("fastapi-boto3", 1 / 12), ("litellm", 1 / 40), ("relay", 4.0)):
            yield _ratio(
                rows,
                f"CPU/token, {streams} streams flat out, of {peer}'s",
                "flat",
                streams,
                peer,
                bound,
            )
    for server, streams, rate in _PACED:
        for peer, bound in (("relay", 2.0), ("fastapi-boto3", 1 / 6)):
            name = f"CPU/token{_on(server)}, {streams} streams at {rate}/s, of {peer}'s"
            yield _ratio(rows, name, rate, streams, peer, bound, server=server)


def _latency(rows: Rows) -> Iterable[Verdict]:
    single = find(rows, "sluice", "flat", 1)
    for name, bound in (("ttft_added_ms_p50", 2.0), ("ttft_added_ms_p99", 6.0)):
        yield _bound(f"{name}, 1 stream", None if single is None else single[name], bound, "ms")
    name = "TTFT added p50, 32 streams flat out, of fastapi-boto3's"
    yield _ratio(rows, name, "flat", 32, "fastapi-boto3", 1 / 4, "ttft_added_ms_p50")
    for server, streams, rate in _PACED:
        for percent in (50, 99):
            begins = f"TTFT added p{percent}{_on(server)}"
            name = f"{begins}, {streams} streams at {rate}/s, of fastapi-boto3's"
            field = f"ttft_added_ms_p{percent}"
            yield _ratio(rows, name, rate, streams, "fastapi-boto3", 1 / 5, field, server=server)
    paced = [
        row
        for row in rows
        if row["server"] == "sluice" and row["streams"] == 128 and row["mode"] != "flat"
    ]
    within = [row for row in paced if not row["over_capacity"]]
    for row in within:
        figure = row["itl_ms_p99"] / max(0.01, row["itl_ms_p50"])
        yield _bound(
            f"inter-token latency p99 / p50, 128 streams at {row['mode']}/s", figure, 3.0, ""
        )


def _cold(cold: dict[str, Any]) -> Iterable[Verdict]:
    sluice = next(row for row in cold["servers"] if row["server"] == "sluice")
    yield _bound("start to first /next, CPU", sluice["ready_cpu_s"], 0.35, "s")
    yield _bound("resident at the first /next", sluice["ready_rss_mb"], 45, "MB")
    for package in cold["packages"]:
        yield _bound(f"zip, {package['target']}", package["zip_mb"], 12, "MB")


def _on(server: str) -> str:
    return " with uvloop" if server == "sluice-uvloop" else ""


def _ratio(
    rows: Rows,
    name: str,
    mode: str | int,
    streams: int,
    peer: str,
    bound: float,
    field: str = "cpu_us_per_token",
    *,
    server: str = "sluice",
) -> Verdict:
    ours, theirs = find(rows, server, mode, streams), find(rows, peer, mode, streams)
    target = f"1/{1 / bound:.0f}" if bound < 1 else f"{bound:.0f} x"
    if ours is None or theirs is None:
        return Verdict(name, "not run", target, None)
    ratio = max(0.001, ours[field]) / max(0.001, theirs[field])
    figure = f"1/{1 / ratio:.1f}" if ratio < 1 else f"{ratio:.1f} x"
    return Verdict(name, f"{figure} ({ours[field]:g} : {theirs[field]:g})", target, ratio <= bound)


def _bound(name: str, figure: float | None, bound: float, unit: str) -> Verdict:
    if figure is None:
        return Verdict(name, "not run", f"{bound:g} {unit}".strip(), None)
    return Verdict(
        name, f"{figure:.2f} {unit}".strip(), f"{bound:g} {unit}".strip(), figure <= bound
    )
