"""Metric math."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.moto.alarms.expression import ExpressionError, Inputs, evaluate

A = [1.0, None, 3.0, 0.0]
B = [4.0, 5.0, None, 0.0]


def found(text: str) -> list[float | None]:
    """Return the series of an expression over `a` and `b`, in periods of a minute."""
    return evaluate(text, Inputs({"a": A, "b": B}, 4, 60))


@pytest.mark.parametrize(
    ("text", "series"),
    [
        ("a", A),
        ("7", [7.0] * 4),
        ("a + b", [5.0, None, None, 0.0]),
        ("a - b * 2", [-7.0, None, None, 0.0]),
        ("(a - b) * 2", [-6.0, None, None, 0.0]),
        ("b / a", [4.0, None, None, None]),
        ("-a ^ 2", [-1.0, None, -9.0, 0.0]),
        ("2 ^ 3 ^ 2", [512.0] * 4),
        ("a < 2", [1.0, None, 0.0, 1.0]),
        ("a >= 1 AND b > 3", [1.0, None, None, 0.0]),
        ("a == 0 || b == 4", [1.0, None, None, 1.0]),
        ("1 OR 0 AND 0", [1.0] * 4),
        ("IF(a >= 1, 100, 0)", [100.0, None, 100.0, 0.0]),
        ("if(a, b, 9)", [4.0, None, None, 9.0]),
        ("FILL(a, 0) + FILL(b, 1)", [5.0, 5.0, 4.0, 0.0]),
        ("FILL(a, REPEAT)", [1.0, 1.0, 3.0, 0.0]),
        ("a / PERIOD(a) * 60", A),
        ("SUM([a, b])", [5.0, 5.0, 3.0, 0.0]),
        ("MAX([a, b])", [4.0, 5.0, 3.0, 0.0]),
        ("AVG([a, b])", [2.5, 5.0, 3.0, 0.0]),
        ("1e3 + .5", [1000.5] * 4),
    ],
)
def test_series(text: str, series: list[float | None]) -> None:
    """An expression has the value of each period, and none where an operand has none."""
    assert found(text) == series


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a +",
        "(a",
        "a b",
        "c",
        "a & b",
        "[a, b]",
        "a + [b]",
        "IF(a, b)",
        "RATE(a)",
        "SUM(a)",
        "FILL(a, LINEAR)",
        "SEARCH('x', 'Sum', 60)",
        "ANOMALY_DETECTION_BAND(a)",
        "(" * 200 + "a" + ")" * 200,
    ],
)
def test_what_is_not_evaluated_is_an_error(text: str) -> None:
    """A malformed expression or an unknown function is an error, never a wrong value."""
    with pytest.raises(ExpressionError):
        found(text)


@given(st.text(alphabet="ab10+-*/^<>=!&|()[], IFSUMfill", max_size=40))
def test_any_text_has_finite_values_or_an_error(text: str) -> None:
    """Whatever the text, the result is a series of finite values, or the one error."""
    try:
        series = found(text)
    except ExpressionError:
        return
    assert all(value is None or math.isfinite(value) for value in series)
