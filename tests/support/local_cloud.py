"""Stacks in one local cloud, which has a stand-in for the container."""

import json
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTAINER = (sys.executable, str(Path(__file__).parents[1] / "support" / "container.py"))
Client = Callable[[str], Any]
Deploy = Callable[..., dict[str, str]]


class Stacks:
    """Deploys templates under new stack names, and reads the results."""

    def __init__(self, client: Client) -> None:
        """Deploy with the boto3 clients that `client` makes."""
        self.api = client("cloudformation")
        self.names: list[str] = []

    def create(
        self, resources: dict[str, Any], outputs: dict[str, Any] | None = None, **template: Any
    ) -> str:
        """Create a stack. Return its name."""
        name = f"t{uuid.uuid4().hex[:8]}"
        self.names.append(name)
        self.api.create_stack(StackName=name, TemplateBody=_body(resources, outputs, template))
        self.wait(name)
        return name

    def update(
        self,
        name: str,
        resources: dict[str, Any],
        outputs: dict[str, Any] | None = None,
        **template: Any,
    ) -> None:
        """Update a stack."""
        self.api.update_stack(StackName=name, TemplateBody=_body(resources, outputs, template))
        self.wait(name)

    def delete(self, name: str) -> None:
        """Delete a stack."""
        self.names.remove(name)
        stack = self.api.describe_stacks(StackName=name)["Stacks"][0]["StackId"]
        self.api.delete_stack(StackName=name)
        self.wait(stack)

    def wait(self, name: str) -> None:
        """Wait until an operation ends. Each call waits for it for up to 5 s."""
        while self.status(name).endswith("_IN_PROGRESS"):
            pass

    def status(self, name: str) -> str:
        """Return the stack's status."""
        return str(self.api.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])

    def outputs(self, name: str) -> dict[str, str]:
        """Return the stack's outputs."""
        stack = self.api.describe_stacks(StackName=name)["Stacks"][0]
        return {item["OutputKey"]: item["OutputValue"] for item in stack.get("Outputs", [])}

    def reasons(self, name: str) -> str:
        """Return all reasons in the stack's events."""
        events = self.api.describe_stack_events(StackName=name)["StackEvents"]
        return "\n".join(event.get("ResourceStatusReason", "") for event in events)


def _body(
    resources: dict[str, Any], outputs: dict[str, Any] | None, template: dict[str, Any]
) -> str:
    values = {name: {"Value": value} for name, value in (outputs or {}).items()}
    return json.dumps({"Resources": resources, "Outputs": values, **template})


def change_set(stacks: Stacks, stack: str, resources: dict[str, Any], kind: str) -> None:
    """Deploy resources into a stack by a change set called "same"; `kind` is CREATE or UPDATE."""
    template = json.dumps({"Resources": resources})
    stacks.api.create_change_set(
        StackName=stack, ChangeSetName="same", ChangeSetType=kind, TemplateBody=template
    )
    stacks.api.execute_change_set(StackName=stack, ChangeSetName="same")
    stacks.wait(stack)
