"""Deploys a stack: creates, updates, replaces and deletes the resources that changed, in order.

A resource is updated when its *resolved* properties differ, so that a replaced model reaches the
endpoint configuration that names it. A failure is rolled back, as in CloudFormation, and the events
have the reason.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from local.cloudformation.intrinsics import Scope, TemplateError, in_order
from local.cloudformation.resource import Context, DeployError, Properties, Resource
from local.cloudformation.schemas import violations

log = logging.getLogger("local.cloudformation")

Template = dict[str, Any]
# Returns a resource that is not created yet.
Factory = Callable[[Context, Properties], Resource]
# (logical id, physical id, type, status, reason)
Events = Callable[[str, str, str, str, str | None], None]


class Failed(Exception):
    """A resource failed and the stack was rolled back. The message is the first reason."""


@dataclass
class Services:
    """The functions that the engine needs from its surroundings.

    `make` returns a resource that is not created yet. `text` resolves the dynamic references in a
    string. `parameter` returns the value of a Systems Manager parameter. `exports` returns the
    exports of all stacks by name.
    """

    make: Factory
    text: Callable[[str], str]
    parameter: Callable[[str], str]
    exports: Callable[[], dict[str, str]]


@dataclass
class Deployed:
    """The state in which a stack is deployed."""

    account: str
    region: str
    stack_name: str
    stack_id: str
    template: Template = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)


def parameter_values(
    template: Template, parameters: dict[str, str], read_parameter: Callable[[str], str]
) -> dict[str, Any]:
    """Return the values of a template's parameters.

    `read_parameter` returns the value of a Systems Manager parameter by its name.

    Raises TemplateError for a parameter without a value.
    """
    values: dict[str, Any] = {}
    for name, slot in template.get("Parameters", {}).items():
        value = parameters.get(name, slot.get("Default"))
        if value is None:
            raise TemplateError(f"Parameters: [{name}] must have values")
        kind = slot.get("Type", "String")
        if kind.startswith("AWS::SSM::Parameter::Value"):
            value = read_parameter(value)
        if kind.startswith("List<") or kind == "CommaDelimitedList" or "Value<List" in kind:
            value = [part.strip() for part in value.split(",")]
        values[name] = value
    return values


class Operation:
    """One creation, update or deletion of a stack."""

    def __init__(self, stack: Deployed, services: Services, events: Events) -> None:
        """The operation changes `stack` as it goes on."""
        self.stack = stack
        self.services = services
        self.events = events

    def deploy(self, template: Template, parameters: dict[str, str]) -> None:
        """Deploy `template`.

        Raises Failed with the reason of a failure, after the rollback.
        """
        before = (self.stack.template, self.stack.parameters)
        try:
            self._apply(template, parameters)
        except Exception as error:
            if not isinstance(error, (TemplateError, DeployError, Failed)):
                # Errors of moto and defects of the local cloud must not leave a stack half
                # deployed.
                log.exception("stack %s", self.stack.stack_name)
            reason = getattr(error, "message", None) or str(error) or type(error).__name__
            self.events("", "", "", "ROLLBACK", reason)
            self._roll_back(*before)
            raise Failed(reason) from error

    def delete(self) -> None:
        """Delete all resources whose DeletionPolicy is not Retain.

        Raises Failed if one of them cannot be deleted. The others are deleted nevertheless.
        """
        failure = self._remove(list(reversed(self._order(self.stack.template))))
        if failure:
            raise Failed(failure)

    def _apply(
        self, template: Template, parameters: dict[str, str], *, rolling_back: bool = False
    ) -> None:
        stack = self.stack
        scope = self._scope(template, parameters)
        desired = {
            name: node
            for name, node in template["Resources"].items()
            if "Condition" not in node or scope.condition(node["Condition"])
        }
        replaced: list[tuple[str, Resource]] = []
        for name in in_order(desired):
            node = desired[name]
            properties = scope.resolve(node.get("Properties", {}))
            old = stack.resources.get(name)
            if old is None:
                self._create(name, node["Type"], properties)
            elif old.context.type != node["Type"] or _must_replace(old, properties):
                _check_name(old, node["Type"], properties)
                replaced.append((name, old))
                self._create(name, node["Type"], properties)
            elif old.properties != properties:
                old.update_policy = (
                    {} if rolling_back else scope.resolve(node.get("UpdatePolicy", {}))
                )
                self._update(old, properties)
        outputs = {
            name: {
                **node,
                "Value": scope.resolve(node["Value"]),
                "Export": scope.resolve(node.get("Export")),
            }
            for name, node in template.get("Outputs", {}).items()
            if "Condition" not in node or scope.condition(node["Condition"])
        }
        removed = [name for name in reversed(self._order(stack.template)) if name not in desired]
        for name, old in replaced:
            self._delete(name, old)
        self._remove(removed)
        stack.template, stack.parameters, stack.outputs = template, parameters, outputs

    def _scope(self, template: Template, parameters: dict[str, str]) -> Scope:
        stack = self.stack
        values = {
            "AWS::AccountId": stack.account,
            "AWS::Region": stack.region,
            "AWS::StackId": stack.stack_id,
            "AWS::StackName": stack.stack_name,
            "AWS::URLSuffix": "amazonaws.com",
            "AWS::Partition": "aws",
            "AWS::NotificationARNs": [],
            **parameter_values(template, parameters, self.services.parameter),
        }
        return Scope(
            values=values,
            attribute=self._attribute,
            mappings=template.get("Mappings", {}),
            conditions=template.get("Conditions", {}),
            exports=self.services.exports(),
            text=self.services.text,
        )

    def _attribute(self, logical_id: str, name: str | None) -> Any:
        resource = self.stack.resources.get(logical_id)
        if resource is None:
            raise TemplateError(f"Unresolved resource dependencies [{logical_id}] in the template")
        return resource.physical_id if name is None else resource.attribute(name)

    def _order(self, template: Template) -> list[str]:
        return [
            name for name in in_order(template.get("Resources", {})) if name in self.stack.resources
        ]

    def _create(self, name: str, kind: str, properties: Properties) -> None:
        stack = self.stack
        resource = self.services.make(
            Context(stack.account, stack.region, stack.stack_name, stack.stack_id, name, kind),
            properties,
        )
        with _reported(self, name, lambda: resource.physical_id, kind, "CREATE"):
            _check_schema(name, kind, properties)
            resource.create()
            stack.resources[name] = resource

    def _update(self, resource: Resource, properties: Properties) -> None:
        context = resource.context
        with _reported(
            self, context.logical_id, lambda: resource.physical_id, context.type, "UPDATE"
        ):
            _check_schema(context.logical_id, context.type, properties)
            resource.update(properties)
            resource.properties = properties

    def _delete(self, name: str, resource: Resource) -> None:
        with _reported(self, name, lambda: resource.physical_id, resource.context.type, "DELETE"):
            resource.delete()

    def _remove(self, names: list[str]) -> str | None:
        """Delete resources, even after a failure; return the first failure's reason, or None."""
        failure = None
        for name in names:
            resource = self.stack.resources[name]
            node = self.stack.template.get("Resources", {}).get(name, {})
            if str(node.get("DeletionPolicy", "")).startswith("Retain"):
                self.events(
                    name, resource.physical_id, resource.context.type, "DELETE_SKIPPED", None
                )
            else:
                try:
                    self._delete(name, resource)
                except Failed as error:
                    failure = failure or str(error)
                    continue
            del self.stack.resources[name]
        return failure

    def _roll_back(self, template: Template, parameters: dict[str, str]) -> None:
        try:
            if template:
                self._apply(template, parameters, rolling_back=True)
                desired = set(template["Resources"])
                self._remove(
                    [name for name in reversed(list(self.stack.resources)) if name not in desired]
                )
            else:
                self._remove(list(reversed(list(self.stack.resources))))
        except (TemplateError, DeployError, Failed) as error:
            log.error("stack %s: the rollback failed: %s", self.stack.stack_name, error)


def _check_schema(name: str, kind: str, properties: Properties) -> None:
    if wrong := violations(kind, properties):
        raise DeployError(f"Properties validation failed for resource {name} with message: {wrong}")


def _must_replace(old: Resource, properties: Properties) -> bool:
    watched = {*old.replaced_by, old.name_property}
    return any(old.properties.get(name) != properties.get(name) for name in watched)


def _check_name(old: Resource, kind: str, properties: Properties) -> None:
    name = properties.get(old.name_property)
    if name and kind == old.context.type and name == old.properties.get(old.name_property):
        raise TemplateError(
            "CloudFormation cannot update a stack when a custom-named resource requires "
            "replacing. "
            f"Rename {name} and update the stack again."
        )


class _reported:  # noqa: N801 - a context manager, used like a function
    """Record the events around a change of one resource.

    Every error becomes Failed, with a reason of one line.
    """

    def __init__(
        self, operation: Operation, name: str, physical: Callable[[], str], kind: str, verb: str
    ) -> None:
        self.operation, self.name, self.physical, self.kind, self.verb = (
            operation,
            name,
            physical,
            kind,
            verb,
        )

    def _event(self, status: str, reason: str | None = None) -> None:
        self.operation.events(
            self.name, self.physical(), self.kind, f"{self.verb}_{status}", reason
        )

    def __enter__(self) -> None:
        self._event("IN_PROGRESS")

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None:
            self._event("COMPLETE")
            return
        if not isinstance(error, Exception):
            return
        if not isinstance(error, DeployError):
            log.error("%s %s %s", self.verb, self.kind, self.name, exc_info=error)
        reason = getattr(error, "message", None) or str(error) or type(error).__name__
        self._event("FAILED", reason)
        raise Failed(f"{self.kind} {self.name}: {reason}") from error
