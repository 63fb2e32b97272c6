"""The records of requests that their caller traces."""

import json
from itertools import count

import pytest

from model.errors import EngineError
from model.events import Delta, Finish, Start, Usage
from model.lines import LineEncoder
from model.traced_lines import TracedLines, is_traced

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
EVENTS: list[Start | Delta | Finish | Usage] = [
    Start(12), Delta(0, 1, "a"), Delta(0, 1, "b"), Finish(0, "stop"), Usage(12, 2),
]  # fmt: skip


def test_times() -> None:
    """The last record has a span's id and the times; all others are as without a trace."""
    ticks = count(1)
    traced, plain = TracedLines(lambda: next(ticks)), LineEncoder()
    for event in EVENTS:
        assert traced.event(event) == plain.event(event)
    end = json.loads(traced.end())
    assert len(end["trace"].pop("span_id")) == 16
    assert end == {
        "type": "end",
        "trace": {
            "began": 10**6,
            "started": 2 * 10**6,
            "first_token": 3 * 10**6,
            "ended": 4 * 10**6,
        },
    }


def test_a_failure() -> None:
    """An error has the times until then."""
    ticks = count(1)
    record = json.loads(TracedLines(lambda: next(ticks)).error(EngineError('a "quoted" } text')))
    times = record.pop("trace")
    assert times.keys() == {"span_id", "began", "ended"}
    assert record == json.loads(LineEncoder().error(EngineError('a "quoted" } text')))


@pytest.mark.parametrize(
    ("attributes", "traced"),
    [
        (f"traceparent=00-{TRACE}-{SPAN}-01", True),
        (f"traceparent=00-{TRACE}-{SPAN}-03;tracestate=a=1", True),
        (f"traceparent=00-{TRACE}-{SPAN}-00", False),
        (f"traceparent=00-{'0' * 32}-{SPAN}-01", False),
        (f"traceparent=00-{TRACE}-{'0' * 16}-01", False),
        (f"traceparent=00-{TRACE}-{SPAN}-01x", False),
        (f"traceparent=00-{TRACE}-{SPAN}-01;" + "x" * 1024, False),
        (f"x;traceparent=00-{TRACE}-{SPAN}-01", False),
        ("", False),
    ],
)
def test_what_is_traced(attributes: str, traced: bool) -> None:
    """Only a valid trace that is sampled counts."""
    assert is_traced(attributes) is traced
