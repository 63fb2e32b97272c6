"""The times of a schedule, and its rights."""

import json
from datetime import UTC, datetime

import pytest

from local.iam import schedules
from local.iam.roles import Roles
from local.lambda_.schedules import BadExpression, next_time
from local.state import Role, Schedule

NOW = datetime(2026, 11, 21, 5, 7, 30, tzinfo=UTC)  # a Saturday


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(5 minutes)", datetime(2026, 11, 21, 5, 12, 30, tzinfo=UTC)),
        ("rate(1 hour)", datetime(2026, 11, 21, 6, 7, 30, tzinfo=UTC)),
        ("rate(1 day)", datetime(2026, 11, 22, 5, 7, 30, tzinfo=UTC)),
        ("at(2026-11-21T06:00:00)", datetime(2026, 11, 21, 6, 0, tzinfo=UTC)),
        ("at(2020-01-01T00:00:00)", None),
        ("cron(* * * * ? *)", datetime(2026, 11, 21, 5, 8, tzinfo=UTC)),
        ("cron(0/15 * * * ? *)", datetime(2026, 11, 21, 5, 15, tzinfo=UTC)),
        ("cron(0 3 * * ? *)", datetime(2026, 11, 22, 3, 0, tzinfo=UTC)),
        ("cron(30 2 1 JAN ? *)", datetime(2027, 1, 1, 2, 30, tzinfo=UTC)),
        ("cron(0 9 ? * MON-FRI *)", datetime(2026, 11, 23, 9, 0, tzinfo=UTC)),
        ("cron(0 9 ? * 1,7 *)", datetime(2026, 11, 21, 9, 0, tzinfo=UTC)),
        ("cron(0 0 1 1 ? 2020)", None),
    ],
)
def test_next_time(expression: str, expected: datetime | None) -> None:
    """The next time of an expression is after now, or None."""
    assert next_time(expression, NOW) == expected


@pytest.mark.parametrize(
    "expression", ["", "rate(5)", "rate(1 week)", "cron(0 9 * *)", "cron(a b c d e f)"]
)
def test_bad_expressions(expression: str) -> None:
    """An invalid expression is an error."""
    with pytest.raises(BadExpression):
        next_time(expression, NOW)


ROLE = "arn:aws:iam::123456789012:role/scheduler"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"


@pytest.mark.parametrize(
    ("service", "action", "resource", "why"),
    [
        ("scheduler", "lambda:InvokeFunction", FUNCTION, None),
        (
            "scheduler",
            "lambda:InvokeFunction",
            f"{FUNCTION}2",
            "identity-based policy allows the lambda:InvokeFunction",
        ),
        (
            "scheduler",
            "lambda:GetFunction",
            FUNCTION,
            "identity-based policy allows the lambda:InvokeFunction",
        ),
        (
            "lambda",
            "lambda:InvokeFunction",
            FUNCTION,
            "resource-based policy allows the sts:AssumeRole",
        ),
    ],
)
def test_schedules_act_as_their_roles(
    service: str, action: str, resource: str, why: str | None
) -> None:
    """A schedule fires only if its role trusts the scheduler and may invoke that function."""
    trust = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": f"{service}.amazonaws.com"},
    }
    grant = {"Effect": "Allow", "Action": action, "Resource": resource}
    roles = Roles()
    roles.apply((Role(ROLE, ({"Statement": [grant]},), None, {"Statement": [trust]}),), {})
    arn = "arn:aws:scheduler:us-east-1:123456789012:schedule/default/s"
    said = schedules.refusal(
        roles, Schedule(arn, "rate(1 minute)", True, FUNCTION, None, ROLE), "{}"
    )
    assert (said is None) == (why is None)
    assert why is None or why in str(said)


@pytest.mark.parametrize(("source", "may"), [("rule/r", True), ("rule/other", False)])
def test_rules_need_the_functions_policy(source: str, may: bool) -> None:
    """A rule invokes a function only if the function's policy allows it.

    The policy must name events.amazonaws.com and that rule.
    """
    arn = "arn:aws:events:us-east-1:123456789012:"
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": FUNCTION,
        "Condition": {"ArnLike": {"AWS:SourceArn": arn + source}},
    }
    rule = Schedule(f"{arn}rule/r", "rate(1 minute)", True, FUNCTION, None)
    said = schedules.refusal(Roles(), rule, json.dumps({"Statement": [statement]}))
    assert (said is None) == may
