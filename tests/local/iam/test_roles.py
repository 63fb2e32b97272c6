"""The rights of a role: by its own policies, those of a resource, a boundary and a session."""

import json
from typing import Any

from local.iam.policy import Need
from local.iam.roles import Caller, Roles
from local.state import Role

ALLOW = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}


DENY = {**ALLOW, "Effect": "Deny"}


NEED = Need("s3:GetObject", "arn:aws:s3:::b/k")


ROLE = "arn:aws:iam::123456789012:role/path/r"


CALLER = Caller(ROLE, "session")


def refusal(
    identity: Any = (),
    bucket: Any = (),
    boundary: Any = None,
    session: Any = None,
    need: Need = NEED,
    trust: Any = (),
) -> str:
    """Return the end of the denial's message, or None."""
    roles = Roles()
    limits = None if boundary is None else {"Statement": boundary}
    roles.apply(
        (Role(ROLE, ({"Statement": list(identity)},), limits, {"Statement": list(trust)}),),
        {"b": {"Statement": list(bucket)}},
    )
    caller = Caller(
        ROLE, "session", json.dumps({"Statement": session}) if session is not None else ""
    )
    words = roles.refusal(caller, need, "us-east-1")
    return words.partition(need.resource)[2].lstrip('" ') if words else ""


def test_which_policies_count() -> None:
    """The policy of the identity or of the bucket grants within an account. Any Deny wins.

    Boundary and session policy only limit.
    """
    of_bucket = {"Principal": "*", **ALLOW}
    assert refusal() == "because no identity-based policy allows the s3:GetObject action"
    assert refusal([ALLOW]) == ""
    assert refusal([], [of_bucket]) == ""
    assert (
        refusal([ALLOW], [{**of_bucket, "Effect": "Deny"}])
        == "with an explicit deny in a resource-based policy"
    )
    assert refusal([DENY], [of_bucket]) == "with an explicit deny in an identity-based policy"
    assert refusal([ALLOW], boundary=[ALLOW]) == ""
    assert (
        refusal([ALLOW], boundary=[])
        == "because no permissions boundary allows the s3:GetObject action"
    )
    assert (
        refusal([ALLOW], session=[]) == "because no session policy allows the s3:GetObject action"
    )
    insecure = {
        **of_bucket,
        "Effect": "Deny",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    assert refusal([ALLOW], [insecure]) == ""
    assume = Need("sts:AssumeRole", ROLE)
    grant = {"Effect": "Allow", "Action": "sts:AssumeRole", "Resource": "*"}
    assert (
        refusal([grant], need=assume, trust=[{**grant, "Principal": {"AWS": "123456789012"}}]) == ""
    )
    assert "no resource-based policy" in refusal([grant], need=assume)


def test_refusal_is_worded_as_on_aws() -> None:
    """A denial names the caller, the action, the resource and the kind of policy."""
    need = Need("dynamodb:PutItem", "arn:aws:dynamodb:us-east-1:123456789012:table/t")
    assert Roles().refusal(CALLER, need, "us-east-1") == (
        "User: arn:aws:sts::123456789012:assumed-role/r/session is not authorized to "
        "perform: dynamodb:PutItem on "
        "resource: arn:aws:dynamodb:us-east-1:123456789012:table/t because no identity-based "
        "policy allows the "
        "dynamodb:PutItem action"
    )


def test_invoking_a_function() -> None:
    """A role invokes the functions that its policies name, and is told what it lacks else."""
    function = "arn:aws:lambda:eu-west-1:123456789012:function:f"
    grant = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": f"{function}:live"}
    roles = Roles()
    roles.apply((Role(ROLE, ({"Statement": [grant]},), None, {"Statement": []}),), {})
    assert roles.may_not_invoke(ROLE, f"{function}:live") is None
    assert "lambda:InvokeFunction" in str(roles.may_not_invoke(ROLE, function))
