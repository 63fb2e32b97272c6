"""Endpoints that templates create."""

from tests.support.components import template
from tests.support.local_cloud import Stacks


def test_component_needs_what_it_names(stacks: Stacks) -> None:
    """A variant without a model needs a role in its configuration."""
    stack = stacks.create(template(1, ExecutionRoleArn={"Ref": "AWS::NoValue"}))
    assert stacks.status(stack) == "ROLLBACK_COMPLETE"
    assert (
        "ExecutionRoleArn is required when a production variant has no ModelName"
        in stacks.reasons(stack)
    )
