"""The rules of composite alarms."""

import pytest

from local.moto.alarms.rules import RuleError, holds
from local.moto.alarms.states import State

STATES: dict[str, State] = {"a": "ALARM", "b": "OK", "c-1": "INSUFFICIENT_DATA"}


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ('ALARM("a")', True),
        ("ALARM(a)", True),
        ('ALARM("arn:aws:cloudwatch:us-east-1:123456789012:alarm:a")', True),
        ('ALARM("a") AND ALARM("b")', False),
        ('ALARM("a") AND OK("b") AND INSUFFICIENT_DATA("c-1")', True),
        ('ALARM("b") OR NOT ALARM("b")', True),
        ('ALARM("a") OR ALARM("b") AND FALSE', True),
        ('(ALARM("a") OR ALARM("b")) AND FALSE', False),
        ('ALARM("gone")', False),
        ("NOT (TRUE AND FALSE)", True),
    ],
)
def test_rules(rule: str, wanted: bool) -> None:
    """NOT binds most, then AND, then OR. An alarm that does not exist has insufficient data."""
    assert holds(rule, STATES) is wanted


@pytest.mark.parametrize(
    "rule", ["", "ALARM(", 'ALARM("a") ALARM("b")', "AND", "(TRUE", "TRUE)", "XOR(a)", "(" * 99]
)
def test_malformed_rules(rule: str) -> None:
    """A malformed rule is an error."""
    with pytest.raises(RuleError):
        holds(rule, STATES)
