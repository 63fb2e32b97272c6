"""Change sets."""

import json

import pytest
from botocore.exceptions import ClientError

from tests.support.local_cloud import Stacks, change_set
from tests.support.resources import BAD, TOPIC


def test_change_sets_of_one_name_in_two_stacks(stacks: Stacks) -> None:
    """Two stacks may have change sets of one name.

    The change set of a failed deployment does not block the next one.
    """
    first, second = "tchange1", "tchange2"
    stacks.names += [first, second]
    change_set(stacks, first, {"Bad": BAD}, "CREATE")
    assert stacks.status(first) == "ROLLBACK_COMPLETE"
    change_set(stacks, second, {"Topic": TOPIC}, "CREATE")
    assert stacks.status(second) == "CREATE_COMPLETE"
    stacks.api.delete_change_set(StackName=first, ChangeSetName="same")
    stacks.delete(first)
    stacks.names.append(first)
    change_set(stacks, first, {"Topic": TOPIC}, "CREATE")
    assert stacks.status(first) == "CREATE_COMPLETE"
    described = stacks.api.describe_stack_resources(StackName=first)["StackResources"]
    assert [item["ResourceType"] for item in described] == ["AWS::SNS::Topic"]
    with pytest.raises(ClientError, match="ChangeSetNotFound"):
        stacks.api.describe_change_set(StackName=first, ChangeSetName="other")


def test_a_change_set_that_was_left_is_made_again(stacks: Stacks) -> None:
    """A deployment that is killed before its change set is executed does not block the next one."""
    name = "tchange3"
    stacks.names.append(name)
    stacks.api.create_change_set(
        StackName=name,
        ChangeSetName="same",
        ChangeSetType="CREATE",
        TemplateBody=json.dumps({"Resources": {"Topic": TOPIC}}),
    )
    stacks.api.delete_change_set(StackName=name, ChangeSetName="same")
    change_set(stacks, name, {"Topic": TOPIC}, "CREATE")
    assert stacks.status(name) == "CREATE_COMPLETE"
