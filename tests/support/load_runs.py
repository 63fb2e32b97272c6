"""A run with requests of every ending, for the tests of what is made of a run."""

from typing import Any

from cli.commands.load.endings import NAMES, Ending
from cli.commands.load.generator import Run
from cli.commands.load.ledger import Checked
from cli.commands.load.stream import Record
from cli.commands.load.summary import Objectives, summarize

HOSTILE = "<script>\x1b[2J\u202e"
PLAN = {
    "rate": [1.0, 5.0], "seconds": 10.0, "arrivals": "poisson", "seed": 3, "prompts": "64 words",
    "max_tokens": 8, "at": "2026-11-29 16:00 UTC",
}  # fmt: skip


def record(number: int, name: Any = "complete", code: str = "", **fields: Any) -> Record:
    """Return a request that was planned at its number's second and took two more.

    Its answer has five tokens, the first after half a second.
    """
    at = 100.0 + number
    found = Record(
        number, "normal", at, sent=at, connected=at, first=at + 0.5, last=at + 1.5, over=at + 2,
        ending=Ending(name, code), status=200, request_id=f"req_{number}", chunks=5, characters=5,
        prompt_tokens=7, completion_tokens=5,
    )  # fmt: skip
    for name_, value in fields.items():
        setattr(found, name_, value)
    return found


def run_of(records: list[Record], **fields: Any) -> Run:
    """Return a run with these requests, and with the latencies of the complete ones."""
    run = Run(began=100.0, at=1_764_000_000.0, seconds=12.0, records=records, cpu=0.6, **fields)
    for it in records:
        run.ended[it.ending.name] += 1
        run.lag.add(0.001)
        run.loop.add(0.002)
        if it.ending.name == "complete" and it.ttft is not None:
            run.ttft.add(it.ttft)
            run.itl.add(0.25, 4)
            run.gaps.add(0.25, 4)
            run.durations.add(2.0)
            run.connects.add(0.001)
    run.most_open = 3
    return run


def every_ending() -> Run:
    """Return a run with one request of each ending, and with hostile codes."""
    return run_of([record(at, name, HOSTILE) for at, name in enumerate(NAMES)])


def report_of(run: Run, **fields: Any) -> dict[str, Any]:
    """Return the report of a run."""
    return summarize(
        run,
        target={"url": f"http://x/{HOSTILE}", "model": HOSTILE, "form": "chat"},
        plan=PLAN,
        **{
            "planned": len(run.records),
            "objectives": Objectives(0.95),
            "checked": Checked("nothing", HOSTILE),
            "max_open": 500,
            **fields,
        },
    )
