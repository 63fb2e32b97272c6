"""Templates that CloudFormation rejects before it touches a resource."""

import pytest
from botocore.exceptions import ClientError

from tests.support.local_cloud import Stacks, change_set
from tests.support.resources import TOPIC


def test_bad_templates_are_rejected(stacks: Stacks) -> None:
    """A template that CloudFormation rejects makes no stack and no change set.

    It changes no stack, either.
    """
    circle = {"A": {**TOPIC, "DependsOn": "B"}, "B": {**TOPIC, "DependsOn": "A"}}
    with pytest.raises(
        ClientError, match=r"ValidationError.*Circular dependency between resources"
    ):
        stacks.create(circle)
    name = stacks.names.pop()
    with pytest.raises(ClientError, match="does not exist"):
        stacks.status(name)
    with pytest.raises(ClientError, match=r"ValidationError.*Unresolved resource dependencies"):
        change_set(stacks, "never", {"A": {**TOPIC, "DependsOn": "B"}}, "CREATE")
    with pytest.raises(ClientError, match="less than or equal to 51200"):
        stacks.create({"A": {**TOPIC, "Metadata": "x" * 52_000}})
    stacks.names.pop()
    stack = stacks.create({"A": TOPIC})
    with pytest.raises(ClientError, match="At least one Resources member must be defined"):
        stacks.update(stack, {})
    assert stacks.status(stack) == "CREATE_COMPLETE"


def test_a_protected_stack_is_not_deleted(stacks: Stacks) -> None:
    """A stack with termination protection stays until the protection is turned off."""
    name = stacks.create({"Topic": {"Type": "AWS::SNS::Topic"}})
    stacks.api.update_termination_protection(StackName=name, EnableTerminationProtection=True)
    with pytest.raises(ClientError, match="while TerminationProtection is enabled"):
        stacks.api.delete_stack(StackName=name)
    [found] = stacks.api.describe_stacks(StackName=name)["Stacks"]
    assert (found["StackStatus"], found["EnableTerminationProtection"]) == ("CREATE_COMPLETE", True)
    stacks.api.update_termination_protection(StackName=name, EnableTerminationProtection=False)
