"""A run in the form of AIPerf's `profile_export_aiperf.json`, for tools that read that. Pure.

Source: docs/reference/json-export-schema.md of ai-dynamo/aiperf, schema 1.4. A metric has `unit`,
`avg`, and, where it is one value for each request, `min`, `max`, percentiles, `std`, `count` and
`sum`. Only complete requests have metrics; `error_request_count` has all others.
"""

from __future__ import annotations

import statistics
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cli.commands.load.generator import Run

SCHEMA = "1.4"
_SHARES = (1, 5, 10, 25, 50, 75, 90, 95, 99)


def export(run: Run, report: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return a run, and its report, in AIPerf's form."""
    complete = [it for it in run.records if it.ending.name == "complete" and it.is_timed]
    others = [it for it in run.records if it.ending.name != "complete"]
    latency = [(it.over or it.planned) - it.planned for it in complete]
    tokens = sum(it.tokens for it in complete)
    seconds = run.seconds or 1.0
    metrics = {
        "request_latency": _record("ms", [it * 1000 for it in latency]),
        "time_to_first_token": _record(
            "ms", [it.ttft * 1000 for it in complete if it.ttft is not None]
        ),
        "inter_token_latency": _record(
            "ms", [it.itl * 1000 for it in complete if it.itl is not None]
        ),
        "output_sequence_length": _record("tokens", [it.tokens for it in complete]),
        "input_sequence_length": _record(
            "tokens", [it.prompt_tokens for it in complete if it.prompt_tokens is not None]
        ),
        "request_throughput": _scalar("requests/sec", len(complete) / seconds),
        "request_count": _scalar("requests", len(complete)),
        "error_request_count": _scalar("requests", len(others)),
        "output_token_throughput": _scalar("tokens/sec", tokens / seconds),
        "total_output_tokens": _scalar("tokens", tokens),
        "benchmark_duration": _scalar("sec", seconds),
        "goodput": _scalar("requests/sec", report["goodput"]["per_second"]),
        "good_request_count": _scalar("requests", report["goodput"]["good"]),
    }
    errors = Counter(it.ending for it in others)
    return {
        "schema_version": SCHEMA,
        **{name: metric for name, metric in metrics.items() if metric is not None},
        "start_time": _time(run.at),
        "end_time": _time(run.at + run.seconds),
        "was_cancelled": run.stopped,
        "run_info": {"random_seed": seed, "trial": 0, "run_label": "sluice load"},
        "error_summary": [
            {
                "error_details": {"type": ending.name, "message": ending.code or ending.name},
                "count": count,
            }
            for ending, count in errors.most_common()
        ],
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _scalar(unit: str, value: float) -> dict[str, Any]:
    return {"unit": unit, "avg": value}


def _record(unit: str, values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    ranked = sorted(values)
    return {
        "unit": unit,
        "avg": statistics.fmean(values),
        "min": ranked[0],
        "max": ranked[-1],
        **{f"p{share}": _percentile(ranked, share / 100) for share in _SHARES},
        "std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "count": len(values),
        "sum": sum(values),
    }


def _percentile(ranked: Sequence[float], share: float) -> float:
    """Return a percentile with linear interpolation, as numpy and AIPerf do."""
    place = share * (len(ranked) - 1)
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)
