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
