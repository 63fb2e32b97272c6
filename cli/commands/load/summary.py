"""The figures of a run as one JSON value. docs/reference/load-report.md describes it. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cli.commands.load.distribution import Distribution
from cli.commands.load.endings import NAMES
from cli.lib import values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cli.commands.load.generator import Run
    from cli.commands.load.ledger import Checked
    from cli.commands.load.stream import Record

VERSION = 1
_INTERVALS = 120
_EXAMPLES = 3
_SHOWN = 20
_MAX_CODES = 100
"""Codes, and examples, of a report: a server may send another code each time."""
LOOP_MS = 25.0
LAG_MS = 50.0
CPU = 0.9
"""Above one of these, the client counts as the bottleneck: the event loop's lag at p99, the
lateness of requests at p99, and the share of one core."""


@dataclass(frozen=True)
class Objectives:
    """What a good request is: complete, and within these seconds. None sets no limit.

    `share` of the counted requests must be good.
    """

    share: float
    ttft: float | None = None
    itl: float | None = None
    """Of the mean between the tokens of an answer."""
    duration: float | None = None

    def good(self, record: Record) -> bool:
        """Return whether a request was complete and within the objectives.

        A slow reader makes its own latency, so only the ending of its request counts.
        """
        if record.ending.name != "complete":
            return False
        if not record.is_timed:
            return True
        took = None if record.over is None else record.over - record.planned
        pairs = ((self.ttft, record.ttft), (self.itl, record.itl), (self.duration, took))
        return all(most is None or seen is None or seen <= most for most, seen in pairs)


def counted(records: Sequence[Record]) -> list[Record]:
    """Return the requests that count for goodput: all but those this client left on purpose."""
    return [it for it in records if it.ending.name != "dropped"]


def bottleneck(run: Run, max_open: int) -> list[str]:
    """Return why this client may have been the bottleneck; nothing if it was not.

    The figures of such a run are not the server's.
    """
    reasons = []
    unsent = sum(it.ending.name == "unsent" for it in run.records)
    if unsent:
        reasons.append(
            f"{values.counted(unsent, 'request')} could not be sent, because --max-open allows "
            f"{values.counted(max_open, 'stream')} at once"
        )
    if run.loop.count and (late := run.loop.percentile(0.99) * 1000) > LOOP_MS:
        reasons.append(f"the client's event loop was {late:.0f} ms late at p99")
    if run.lag.count and (late := run.lag.percentile(0.99) * 1000) > LAG_MS:
        reasons.append(f"requests were sent {late:.0f} ms late at p99")
    if run.seconds and (share := run.cpu / run.seconds) > CPU:
        reasons.append(f"the client took {share:.0%} of a core")
    return reasons


def summarize(
    run: Run,
    *,
    target: Mapping[str, Any],
    plan: Mapping[str, Any],
    planned: int,
    objectives: Objectives,
    checked: Checked,
    max_open: int,
) -> dict[str, Any]:
    """Return the report. Times are milliseconds unless a name says otherwise.

    `planned` is the number of requests of the whole plan. A run that Ctrl-C ends has records of
    fewer.
    """
    records = run.records
    endings = Counter(it.ending.name for it in records)
    codes = Counter(it.ending for it in records if it.ending.code)
    taken = counted(records)
    good = sum(map(objectives.good, taken))
    seconds = run.seconds or 1.0
    complete = [it for it in records if it.ending.name == "complete"]
    reasons = bottleneck(run, max_open)
    share = good / len(taken) if taken else 0.0
    return {
        "object": "load_report",
        "version": VERSION,
        "target": dict(target),
        "plan": dict(plan),
        "started_at": round(run.at, 3),
        "seconds": round(run.seconds, 3),
        "stopped": run.stopped,
        "requests": {
            "planned": planned,
            "sent": sum(it.sent is not None for it in records),
            "per_second": round(sum(it.sent is not None for it in records) / seconds, 3),
            "most_open": run.most_open,
            "slow_readers": sum(it.reader == "slow" for it in records),
            "droppers": sum(it.reader == "dropper" for it in records),
            "resumed": sum(it.resumed for it in records),
        },
        "endings": {name: endings[name] for name in NAMES},
        "codes": [
            {"ending": ending.name, "code": ending.code, "count": count}
            for ending, count in codes.most_common(_MAX_CODES)
        ],
        "examples": _examples(records, run.began),
        "ttft": run.ttft.figures(),
        "itl": run.itl.figures(),
        "chunk_gap": run.gaps.figures(),
        "duration": run.durations.figures(),
        "connect": run.connects.figures(),
        "tokens": {
            "prompt": sum(it.prompt_tokens or 0 for it in complete),
            "completion": sum(it.tokens for it in complete),
            "per_second": round(sum(it.tokens for it in complete) / seconds, 3),
            "per_chunk": _ratio(
                sum(it.tokens for it in complete), sum(it.chunks for it in complete)
            ),
        },
        "goodput": {
            "objectives": {
                "share": objectives.share,
                **{
                    name: None if (most := getattr(objectives, name)) is None else most * 1000
                    for name in ("ttft", "itl", "duration")
                },
            },
            "good": good,
            "of": len(taken),
            "share": round(share, 5),
            "per_second": round(good / seconds, 3),
            "met": bool(taken) and share >= objectives.share,
        },
        "client": {
            "lag": run.lag.figures(),
            "loop": run.loop.figures(),
            "cpu_seconds": round(run.cpu, 3),
            "cpu_share": round(run.cpu / seconds, 4),
            "bottleneck": reasons,
        },
        "ledger": {
            "by": checked.by,
            "why": checked.why,
            "agrees": checked.agrees,
            "open": checked.open,
            "left": checked.left,
            "matrix": [
                {"ending": name, "outcome": outcome, "count": count}
                for (name, outcome), count in sorted(checked.matrix.items())
            ],
            "sums": checked.sums,
            "disagreeing": len(checked.disagreeing),
            "disagreements": [
                {"request_id": request_id, "what": what}
                for request_id, what in checked.disagreeing[:_SHOWN]
            ],
        },
        "intervals": intervals(run),
        "distributions": {
            name: _curve(getattr(run, attribute))
            for name, attribute in (("ttft", "ttft"), ("itl", "itl"), ("chunk_gap", "gaps"))
        },
    }


def _ratio(number: float, of: float) -> float | None:
    return round(number / of, 3) if of else None


def _examples(records: Sequence[Record], began: float) -> list[dict[str, Any]]:
    """Return the first requests of each kind of ending but complete ones, to look up in logs."""
    seen: Counter[object] = Counter()
    examples: list[dict[str, Any]] = []
    for record in records:
        if len(examples) == _MAX_CODES:
            break
        seen[record.ending] += 1
        if record.ending.name in {"complete", "unsent"} or seen[record.ending] > _EXAMPLES:
            continue
        examples.append(
            {
                "ending": record.ending.name,
                "code": record.ending.code,
                "request_id": record.request_id or None,
                "second": round(record.planned - began, 3),
                "chunks": record.chunks,
                "ledger": record.booked or None,
            }
        )
    return examples


def intervals(run: Run) -> list[dict[str, Any]]:
    """Return the run in at most 121 intervals of equal length, in whole seconds, for plots.

    A request belongs to the interval of its planned moment, with all that became of it. `open` is
    the number of streams at the interval's end.
    """
    records = run.records
    if not records:
        return []
    last = max((it.over or it.planned) - run.began for it in records)
    width = max(1, math.ceil(last / _INTERVALS))
    number = int(last // width) + 1
    endings = [Counter[str]() for _ in range(number)]
    ttft = [Distribution() for _ in range(number)]
    change = [0] * (number + 1)
    for record in records:
        at = min(number - 1, max(0, int((record.planned - run.began) // width)))
        endings[at][record.ending.name] += 1
        if record.ending.name == "complete" and record.ttft is not None and record.is_timed:
            ttft[at].add(record.ttft)
        if record.sent is not None and record.over is not None:
            change[max(0, int((record.sent - run.began) // width))] += 1
            change[min(number, int((record.over - run.began) // width))] -= 1
    rows, streams = [], 0
    for at in range(number):
        streams += change[at]
        figures = ttft[at].figures()
        rows.append(
            {
                "second": at * width,
                "endings": {name: endings[at][name] for name in NAMES if endings[at][name]},
                "ttft_p50": figures and figures["p50"],
                "ttft_p95": figures and figures["p95"],
                "open": streams,
            }
        )
    return rows


def _curve(distribution: Distribution) -> list[list[float]]:
    """Return points of a cumulative distribution: milliseconds, and the share up to them."""
    points = [
        [round(value * 1000, 4), round(seen / distribution.count, 6)]
        for value, seen in distribution.cumulative()
    ]
    step = max(1, len(points) // 200)
    return points[::step] + ([points[-1]] if points and (len(points) - 1) % step else [])
