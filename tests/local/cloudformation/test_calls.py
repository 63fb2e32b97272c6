"""Resources that an API call creates."""

from tests.support.local_cloud import Stacks


def test_properties_that_the_api_refuses_fail_the_stack(stacks: Stacks) -> None:
    """A property of a wrong type fails the stack, and the reason names the property."""
    properties = {"KeySchema": "no", "AttributeDefinitions": []}
    stack = stacks.create(
        {"Table": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": properties}}
    )
    assert stacks.status(stack) == "ROLLBACK_COMPLETE"
    assert "KeySchema" in stacks.reasons(stack)
