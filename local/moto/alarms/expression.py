"""Metric math: expressions over series of data points, as alarms have them.

A series has a value or None for each period, oldest first. A number is the same in each period. An
operator has no value where an operand has none, or where it would divide by zero. The operators are
+ - * / ^, comparisons, AND and OR. The functions are those of `_FUNCTIONS`, `IF`, `FILL` and
`PERIOD`. Anything else is an error, so that no alarm is evaluated wrongly.

Source: "Using math expressions with CloudWatch metrics" of the CloudWatch user guide. Unconfirmed:
`FILL` of a series without any value in the range is taken to fill it.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

Value = float | None
Series = list[Value]
_TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(&&|\|\||[<>=!]=|[-+*/^()\[\],<>]))"
)
_MAX_DEPTH = 50


class ExpressionError(ValueError):
    """An expression is malformed, or has what the local cloud does not evaluate."""


class Inputs(NamedTuple):
    """The series by their ids, the number of periods, and the seconds of one."""

    series: Mapping[str, Series]
    length: int
    period: int


def evaluate(text: str, inputs: Inputs) -> Series:
    """Return the series of an expression.

    Raises:
        ExpressionError: see the class.

    """
    parser = _Parser(_tokens(text), inputs)
    found = parser.either()
    if parser.next is not None:
        raise ExpressionError(f"{text}: {parser.next!r} is not expected")
    if isinstance(found, list):
        raise ExpressionError(f"{text}: is an array of series")
    return found.values


class _Operand(NamedTuple):
    values: Series
    name: str = ""


_Arrays = list[_Operand]


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ExpressionError(f"{text}: {text[at:].strip()[:20]!r} is not expected")
        found.append(match[0].strip())
        at = match.end()
    return found


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda one, other: one < other,
    ">": lambda one, other: one > other,
    "<=": lambda one, other: one <= other,
    ">=": lambda one, other: one >= other,
    "==": lambda one, other: one == other,
    "!=": lambda one, other: one != other,
}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda one, other: one + other,
    "-": lambda one, other: one - other,
    "*": lambda one, other: one * other,
    "/": lambda one, other: one / other,
    "^": lambda one, other: float(one**other),
}
_LOGIC: dict[str, Callable[[float, float], bool]] = {
    "AND": lambda one, other: bool(one and other),
    "OR": lambda one, other: bool(one or other),
}
_ALIASES = {"&&": "AND", "||": "OR"}
_FUNCTIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "SUM": math.fsum,
    "AVG": lambda values: math.fsum(values) / len(values),
    "MIN": min,
    "MAX": max,
}


class _Parser:
    """A recursive descent over the tokens, which computes while it reads."""

    def __init__(self, tokens: list[str], inputs: Inputs) -> None:
        self._tokens = tokens
        self._inputs = inputs
        self._at = 0
        self._depth = 0

    @property
    def next(self) -> str | None:
        """The next token, None at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def _take(self, *wanted: str) -> str | None:
        token = self.next
        named = _ALIASES.get(token or "", token)
        if token is None or (named not in wanted and (named or "").upper() not in wanted):
            return None
        self._at += 1
        return named if named in wanted else (named or "").upper()

    def _expect(self, token: str) -> None:
        if self._take(token) is None:
            raise ExpressionError(f"{token!r} is expected, not {self.next!r}")

    def either(self) -> _Operand | _Arrays:
        """Read an expression: OR binds least, then AND, comparisons, + and -, * and /, ^."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise ExpressionError("the expression is nested too deeply")
        found = self._binary(0)
        self._depth -= 1
        return found

    _LEVELS = (("OR",), ("AND",), tuple(_COMPARISONS), ("+", "-"), ("*", "/"))

    def _binary(self, level: int) -> _Operand | _Arrays:
        if level == len(self._LEVELS):
            return self._power()
        left = self._binary(level + 1)
        while (operator := self._take(*self._LEVELS[level])) is not None:
            left = self._apply(operator, left, self._binary(level + 1))
        return left

    def _power(self) -> _Operand | _Arrays:
        if self._take("-") is not None:
            return self._apply("-", self._number(0.0), self._power())
        left = self._atom()
        return left if self._take("^") is None else self._apply("^", left, self._power())

    def _number(self, value: float) -> _Operand:
        return _Operand([value] * self._inputs.length)

    def _apply(
        self, operator: str, left: _Operand | _Arrays, right: _Operand | _Arrays
    ) -> _Operand:
        compute = {**_COMPARISONS, **_ARITHMETIC, **_LOGIC}[operator]
        pairs = zip(_one(left).values, _one(right).values, strict=True)
        return _Operand([_computed(compute, one, other) for one, other in pairs])

    def _atom(self) -> _Operand | _Arrays:
        token = self.next
        if token is None:
            raise ExpressionError("the expression ends too early")
        self._at += 1
        if token == "(":  # noqa: S105 (a token of the expression)
            found = self.either()
            self._expect(")")
            return found
        if token == "[":  # noqa: S105 (as above)
            array = self._arguments("]")
            return [_one(it) for it in array]
        if token[0].isdigit() or token[0] == ".":
            return self._number(float(token))
        if self._take("(") is not None:
            return self._call(token.upper())
        if token in self._inputs.series:
            return _Operand(self._inputs.series[token], token)
        if token.upper() in {"REPEAT", "LINEAR"}:
            return _Operand([], token.upper())
        raise ExpressionError(f"{token!r} is not known")

    def _arguments(self, end: str) -> list[_Operand | _Arrays]:
        found = [self.either()]
        while self._take(",") is not None:
            found.append(self.either())
        self._expect(end)
        return found

    def _call(self, name: str) -> _Operand:
        given = self._arguments(")")
        if name == "IF" and len(given) == 3:
            rows = zip(*(_one(it).values for it in given), strict=True)
            return _Operand(
                [None if test is None else (yes if test else no) for test, yes, no in rows]
            )
        if name == "FILL" and len(given) == 2:
            return _Operand(_filled(_one(given[0]).values, _one(given[1])))
        if name == "PERIOD" and len(given) == 1:
            return self._number(float(self._inputs.period))
        if name in _FUNCTIONS and len(given) == 1:
            series = given[0] if isinstance(given[0], list) else [given[0]]
            if not isinstance(given[0], list):
                raise ExpressionError(f"{name} is evaluated of an array only, like {name}([a, b])")
            columns = zip(*(it.values for it in series), strict=True)
            return _Operand([_reduced(_FUNCTIONS[name], column) for column in columns])
        raise ExpressionError(f"{name} with {len(given)} arguments is not evaluated here")


def _one(operand: _Operand | _Arrays) -> _Operand:
    if isinstance(operand, list):
        raise ExpressionError("an array can only be the argument of a function")
    return operand


def _computed(compute: Callable[[float, float], float], one: Value, other: Value) -> Value:
    if one is None or other is None:
        return None
    try:
        found = float(compute(one, other))
    except (ArithmeticError, TypeError):
        return None
    return found if math.isfinite(found) else None


def _reduced(compute: Callable[[Sequence[float]], float], column: Sequence[Value]) -> Value:
    present = [value for value in column if value is not None]
    return compute(present) if present else None


def _filled(values: Series, by: _Operand) -> Series:
    if by.name == "LINEAR":
        raise ExpressionError("FILL(..., LINEAR) is not evaluated here")
    if by.name != "REPEAT":
        return [
            fill if value is None else value for value, fill in zip(values, by.values, strict=True)
        ]
    found: Series = []
    for value in values:
        found.append(found[-1] if value is None and found else value)
    return found
