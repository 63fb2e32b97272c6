"""Types that the local cloud does not handle."""

from typing import Any

from local.cloud import LocalCloud
from tests.support.local_cloud import Stacks
from tests.support.resources import TOPIC


def _status(cloud: LocalCloud) -> dict[str, Any]:
    status: dict[str, Any] = cloud.ask("status")
    return status


def test_unhandled_type_is_named(cloud: LocalCloud, stacks: Stacks) -> None:
    """A resource of an unknown type deploys. Status and log name it while it exists."""
    stack = stacks.create({"Thing": {"Type": "AWS::Unheard::Of", "Properties": {}}, "Topic": TOPIC})
    assert stacks.status(stack) == "CREATE_COMPLETE"
    effect = "resources that depend on it will not work"
    named = {"stack": stack, "logical_id": "Thing", "type": "AWS::Unheard::Of", "effect": effect}
    assert named in _status(cloud)["unhandled"]
    assert (
        f"AWS::Unheard::Of (Thing): {effect}"
        in (cloud.directory / "logs" / "control.log").read_text()
    )
    stacks.delete(stack)
    assert named not in _status(cloud)["unhandled"]
