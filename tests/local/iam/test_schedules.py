"""The permissions of schedules and rules."""

import json

import pytest

from local.iam import schedules
from local.iam.roles import Roles
from local.state import Role, Schedule

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
    message = schedules.refusal(
        roles, Schedule(arn, "rate(1 minute)", True, FUNCTION, None, ROLE), "{}"
    )
    assert (message is None) == (why is None)
    assert why is None or why in str(message)


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
    message = schedules.refusal(Roles(), rule, json.dumps({"Statement": [statement]}))
    assert (message is None) == may
