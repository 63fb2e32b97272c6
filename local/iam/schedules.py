"""Decides whether a schedule may invoke its function.

EventBridge Scheduler assumes the schedule's role, which must trust it and allow
lambda:InvokeFunction. A rule of EventBridge needs a statement in the function's policy. Sources:
the EventBridge Scheduler user guide, "Setting up"; the EventBridge user guide, "Using
resource-based policies".
"""

from local.iam.policy import Need, Principal, Verdict, evaluate, parse
from local.iam.roles import Caller, Roles
from local.state import Schedule

_SESSION = "sluice-local"


def refusal(roles: Roles, schedule: Schedule, policy: str) -> str | None:
    """Return the reason why a schedule may not invoke its function, or None if it may.

    `policy` is the function's own policy, as JSON.
    """
    account, region = schedule.arn.split(":")[4], schedule.arn.split(":")[3]
    source = (("aws:SourceArn", (schedule.arn,)), ("aws:SourceAccount", (account,)))
    need = Need("lambda:InvokeFunction", schedule.target, source)
    if schedule.role is None:
        allowed = evaluate(parse(policy), need, {}, Principal(("events.amazonaws.com",)))
        return (
            None
            if allowed is Verdict.ALLOWED
            else f"User: events.amazonaws.com is not authorized to perform: {need.action} on "
            f"resource: {need.resource} "
            "because no resource-based policy allows the lambda:InvokeFunction action"
        )
    if not roles.trusts(schedule.role, "scheduler.amazonaws.com", source):
        return (
            "User: scheduler.amazonaws.com is not authorized to perform: sts:AssumeRole on "
            f"resource: {schedule.role} "
            "because no resource-based policy allows the sts:AssumeRole action"
        )
    return roles.refusal(Caller(schedule.role, _SESSION), Need(need.action, need.resource), region)
