"""The trace that a request belongs to, held against OpenTelemetry's own reader."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lambda_fn.tracing.context import TraceContext, begin

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
_judge = TraceContextTextMapPropagator()


def judged(headers: dict[str, str]) -> trace.SpanContext:
    """Return the caller's span as OpenTelemetry reads it. It is invalid if there is none."""
    return trace.get_current_span(_judge.extract(headers)).get_span_context()


def test_the_callers_trace() -> None:
    """A new span belongs to its caller's trace, whose flag decides whether it is sampled."""
    context = begin(PARENT, "a=1,b@c=2", ratio=0, callers=True)
    assert (context.trace_id, context.parent_id) == (TRACE, SPAN)
    assert context.sampled
    assert context.state == "a=1,b@c=2"
    assert not begin(PARENT[:-1] + "0", "", ratio=1).sampled
    assert begin(PARENT[:-2] + "03", "", ratio=0, callers=True).sampled
    assert judged({"traceparent": context.traceparent}).span_id == int(context.span_id, 16)


@pytest.mark.parametrize(
    "header",
    [
        "", "x", PARENT.upper(), PARENT + "-", PARENT + "-00", PARENT[:-1], f" {PARENT}",
        f"{PARENT}\n", f"ff-{TRACE}-{SPAN}-01", f"0-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}-0g", f"{PARENT},{PARENT}",
        f"00-{TRACE[1:]}-{SPAN}-01", "00-" * 1000,
        f"00-{TRACE.replace('4', '٤', 1)}-{SPAN}-01",
    ],
)  # fmt: skip
def test_malformed_parents_are_ignored(header: str) -> None:
    """A span without a valid parent begins a trace, and takes no state."""
    context = begin(header, "a=1", ratio=1)
    assert context.trace_id != TRACE
    assert (context.parent_id, context.state, context.sampled) == ("", "", True)


def test_the_ratio_bounds_callers() -> None:
    """The flag of a caller that is not trusted takes a request out of the share, and not into it.

    Its trace id does not either: the caller has chosen it.
    """
    chosen = f"00-{'0' * 31}1-{SPAN}-01"
    for header in (PARENT, chosen):
        context = begin(header, "a=1", ratio=0)
        assert (context.parent_id, context.state, context.sampled) == (SPAN, "a=1", False)
        assert begin(header, "", ratio=1).sampled
        assert not begin(header[:-1] + "0", "", ratio=1).sampled
        assert not all(begin(header, "", ratio=0.5).sampled for _ in range(200))


def test_later_versions() -> None:
    """Of a later version the beginning is read, whatever follows it."""
    for header in (f"01-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what.ever"):
        assert begin(header, "", ratio=0)[:1] == (TRACE,)


_HEX = st.text("0123456789abcdef", min_size=1, max_size=32)


@given(
    st.one_of(
        st.text(max_size=80),
        st.builds("-".join, st.lists(_HEX, min_size=2, max_size=6)),
        st.builds(
            "{}-{}-{}-{}".format,
            st.sampled_from(["00", "01", "ff"]),
            st.text("0123456789abcdef", min_size=32, max_size=32),
            st.text("0123456789abcdef", min_size=16, max_size=16),
            st.text("0123456789abcdef", min_size=2, max_size=2),
        ),
    )
)
def test_parents_as_opentelemetry_reads_them(header: str) -> None:
    """What is taken for a parent, OpenTelemetry takes for the same one."""
    context = begin(header, "", ratio=0.5, callers=True)
    if context.parent_id:
        other = judged({"traceparent": header})
        assert other.is_valid
        assert f"{other.trace_id:032x}" == context.trace_id
        assert f"{other.span_id:016x}" == context.parent_id
        assert bool(other.trace_flags & 1) == context.sampled


@pytest.mark.parametrize(
    ("header", "state"),
    [
        ("a=1 , b=2\t,,", "a=1,b=2"),
        ("1tenant@vendor=x", "1tenant@vendor=x"),
        ("a=1,a=2", ""),  # a key comes once
        ("A=1", ""),
        ("a=é", ""),
        ("a", ""),
        ("a=b=c", ""),
        ("a=1;tracestate=2", ""),
        (",".join(f"k{number}=v" for number in range(33)), ""),
        ("x" * 10_000, ""),
    ],
)
def test_states(header: str, state: str) -> None:
    """A malformed state is ignored, and the parent is not."""
    context = begin(PARENT, header, ratio=0)
    assert (context.trace_id, context.state) == (TRACE, state)


@given(st.lists(st.integers(1, 250), min_size=1, max_size=32))
def test_states_are_bounded(sizes: list[int]) -> None:
    """Of a long state whole members are left out, those of over 128 characters first."""
    members = [f"k{number}={'v' * size}" for number, size in enumerate(sizes)]
    context = begin(PARENT, ",".join(members), ratio=0)
    left = context.state.split(",") if context.state else []
    assert [member for member in members if member in left] == left
    assert len(context.state) <= 512
    dropped = [member for member in members if member not in left]
    if any(len(member) <= 128 for member in dropped):
        assert all(len(member) <= 128 for member in left)
    assert len(context.attributes) <= 1024
    assert context.attributes.isascii()
    assert context.attributes.isprintable()


@pytest.mark.parametrize(
    ("header", "parent"),
    [
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
         "53995c3f42cd8ad8"),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0", ""),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=x;Sampled=1;Lineage=1:2", ""),
    ],
)  # fmt: skip
def test_lambdas_trace(header: str, parent: str) -> None:
    """Without a caller's trace, a request is in Lambda's, below its span if Lambda samples it."""
    context = begin("", "", ratio=1, lambda_header=header)
    assert context.trace_id == "5759e988bd862e3fe1be46a994272793"
    assert context.parent_id == parent
    assert context.sampled
    assert begin(PARENT, "", ratio=1, lambda_header=header).trace_id == TRACE


@pytest.mark.parametrize("header", ["", "Root=1-5759e988-bd86", "Root", ";;=", "Root=1" * 999])
def test_malformed_headers_of_lambda(header: str) -> None:
    """They begin a trace."""
    assert begin("", "", ratio=1, lambda_header=header).parent_id == ""


def test_the_ratio() -> None:
    """The same share of traces is sampled by every service, and none or all at the ends."""
    assert not any(begin("", "", ratio=0).sampled for _ in range(100))
    assert all(begin("", "", ratio=1).sampled for _ in range(100))
    roots: Any = {"ffffffffffffff": False, "7fffffffffffff": True, "80000000000000": False}
    for end, sampled in roots.items():
        header = f"Root=1-5759e988-{'a' * 10}{end}"
        assert begin("", "", ratio=0.5, lambda_header=header).sampled is sampled


def test_attributes_of_a_call() -> None:
    """The container gets both headers, the state last."""
    context = TraceContext(TRACE, SPAN, "", sampled=False, state="a=1;2")
    assert context.attributes == f"traceparent=00-{TRACE}-{SPAN}-00;tracestate=a=1;2"
