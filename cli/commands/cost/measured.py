"""Read what a run of `sluice load --json` or `bench.model` has measured."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.lib.project import UsageError, why

_LARGEST = 16 * 1024 * 1024
_MOST = 1e12


@dataclass(frozen=True)
class Measured:
    """Figures of a run; None if the run did not measure one."""

    throughput: float
    """Tokens a second of all the instances that were loaded."""
    tokens_per_second: float | None = None
    """Tokens a second of one stream."""
    first_token: float | None = None
    """Seconds to the first token."""
    caution: str | None = None
    """Why the figures may not be what they seem."""


def read(path: Path) -> Measured:
    """Return the figures of a file.

    Raises:
        UsageError: the file cannot be read, or is neither of the two reports.

    """
    try:
        with path.open("rb") as file:
            body = file.read(_LARGEST + 1)  # a device has no size
        if len(body) > _LARGEST:
            raise UsageError(f"{path} is over {_LARGEST >> 20} MB, and no report of a load test.")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {why(error)}") from None
    try:
        content = json.loads(body)
        if content.get("object") == "load_report":
            return _of_load(content)
        return _of_model(content["rows"])
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError):
        raise UsageError(
            f"{path} is neither a report of `sluice load --json` nor one of "
            "`python -m bench.model`."
        ) from None


def _of_load(report: Mapping[str, Any]) -> Measured:
    throughput = report["tokens"]["per_second"]
    if throughput == 0:
        raise UsageError("No answer of this load test was complete, so it measured no throughput.")
    itl, ttft = report["itl"], report["ttft"]
    caution = "it is the throughput at this load, and the full load's may be higher"
    if reasons := report["client"]["bottleneck"]:
        if not isinstance(reasons, list):
            raise TypeError(reasons)
        caution = f"its client was the bottleneck: {'; '.join(map(str, reasons))}"
    return Measured(
        _positive(throughput),
        tokens_per_second=1000 / _positive(itl["mean"]) if itl and itl["mean"] else None,
        first_token=_positive(ttft["mean"]) / 1000 if ttft else None,
        caution=caution,
    )


def _of_model(rows: list[Mapping[str, Any]]) -> Measured:
    best = max(
        (row for row in rows if row["what"] == "server"), key=lambda row: float(row["tokens_s"])
    )
    return Measured(
        _positive(best["tokens_s"]),
        tokens_per_second=_positive(best["tokens_s"]) / _positive(best["streams"]),
        first_token=_positive(best["ttft_p50_ms"]) / 1000,
        caution=f"it is that of {best['streams']} streams on the machine that was measured",
    )


def _positive(figure: Any) -> float:
    """Return a figure as a number. Raises ValueError unless it is over 0 and at most 10^12."""
    number = float(figure)
    if isinstance(figure, bool) or not 0 < number <= _MOST:
        raise ValueError(figure)
    return number
