"""Spans and gauges in OTLP's JSON, read by OpenTelemetry's own definition."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.tracing.otlp import (
    Gauge,
    Point,
    Resource,
    Span,
    SpanEvent,
    Value,
    encode,
    encode_gauges,
)
from tests.support.otlp import read, read_gauges

_HEX = "0123456789abcdef"
_TIME = st.integers(0, 2**63)
_VALUES: st.SearchStrategy[Value] = st.one_of(
    st.text(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text(), max_size=3),
)
_SPANS = st.builds(
    Span,
    st.text(_HEX, min_size=32, max_size=32),
    st.text(_HEX, min_size=16, max_size=16),
    st.one_of(st.just(""), st.text(_HEX, min_size=16, max_size=16)),
    st.text(),
    _TIME,
    _TIME,
    st.dictionaries(st.text(), _VALUES, max_size=5),
    st.lists(st.builds(SpanEvent, st.text(), _TIME), max_size=3),
    st.one_of(st.none(), st.text()),
    st.text(_HEX, max_size=5),
)


@given(st.lists(st.tuples(st.integers(0, 1), _SPANS), min_size=1, max_size=4))
def test_spans(chosen: list[tuple[int, Span]]) -> None:
    """Every span has all that it had, and the attributes of what made it."""
    resources = (Resource({"service.name": "one"}), Resource({"service.name": "two", "n": 1}))
    found = read(encode([(resources[which], span) for which, span in chosen], "scope"))
    assert len(found) == len(chosen)
    # Spans of one resource stand together.
    first = chosen[0][0]
    ordered = sorted(chosen, key=lambda item: item[0] != first)
    for (which, span), got in zip(ordered, found, strict=True):
        expected: dict[str, Any] = {
            "trace_id": span.trace_id,
            "span_id": span.span_id,
            "parent_id": span.parent_id,
            "name": span.name,
            "kind": 2,
            "start": span.start,
            "end": span.end,
            "state": span.state,
            "flags": 0x301 if span.parent_id else 0x101,
            "status": (0, "") if span.error is None else (2, span.error),
            "attributes": dict(span.attributes),
            "events": [tuple(event) for event in span.events],
            "resource": dict(resources[which].attributes),
            "scope": "scope",
        }
        assert got == expected


_POINTS = st.builds(
    Point,
    _TIME,
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)),
    st.dictionaries(st.text(), _VALUES, max_size=3),
)


@given(st.lists(st.builds(Gauge, st.text(), st.text(), st.lists(_POINTS, max_size=3)), max_size=3))
def test_gauges(gauges: list[Gauge]) -> None:
    """Every point has its value and its attributes, and those of what made it."""
    found = read_gauges(encode_gauges(gauges, Resource({"service.name": "one"}), "scope"))
    assert found == [
        {
            "name": gauge.name,
            "unit": gauge.unit,
            "time": point.time,
            "value": point.value,
            "attributes": dict(point.attributes),
            "resource": {"service.name": "one"},
        }
        for gauge in gauges
        for point in gauge.points
    ]
