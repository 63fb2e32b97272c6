"""CloudFormation's intrinsic functions and the order in which resources depend on each other. Pure.

Source: "Intrinsic function reference" of the CloudFormation user guide.
"""

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_SUBSTITUTION = re.compile(r"\$\{(!?)([^}]*)\}")


class TemplateError(Exception):
    """The template cannot be resolved. The message says where."""


class _NoValue:
    """The value of `AWS::NoValue`: the property is left out."""


NO_VALUE = _NoValue()


@dataclass
class Scope:
    """Everything that a template's functions can refer to.

    `attribute` returns an attribute of a resource from its logical id and the attribute's name. For
    Ref the name is None. `text` is applied to each resulting string and resolves its dynamic
    references, which Fn::Join may have put together.
    """

    values: Mapping[str, Any]
    attribute: Callable[[str, str | None], Any]
    mappings: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    exports: Mapping[str, str] = field(default_factory=dict)
    text: Callable[[str], str] = str

    def condition(self, name: str) -> bool:
        """Return the value of a named condition.

        Raises TemplateError if it is not defined.
        """
        if name not in self.conditions:
            raise TemplateError(f"the condition {name} is not defined")
        return self._test(self.conditions[name])

    def resolve(self, node: Any) -> Any:
        """Return `node` with all functions replaced by their values.

        Raises TemplateError.
        """
        value = self._resolve(node)
        return None if value is NO_VALUE else self._finish(value)

    def _finish(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self._finish(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._finish(item) for item in value]
        return value

    def _resolve(self, node: Any) -> Any:
        if isinstance(node, dict):
            if len(node) == 1:
                ((name, argument),) = node.items()
                if name == "Ref":
                    return self._ref(argument)
                if name.startswith("Fn::"):
                    return self._function(name[4:], argument)
            pairs = ((key, self._resolve(item)) for key, item in node.items())
            return {key: item for key, item in pairs if item is not NO_VALUE and item is not None}
        if isinstance(node, list):
            return [item for item in map(self._resolve, node) if item is not NO_VALUE]
        return node

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        return self.values[name] if name in self.values else self.attribute(name, None)

    def _function(self, name: str, argument: Any) -> Any:
        if name == "If":
            chosen = argument[1] if self.condition(argument[0]) else argument[2]
            return self._resolve(chosen)
        if name == "Sub":
            return self._sub(argument)
        if name in {"Equals", "Not", "And", "Or"}:
            return self._test({f"Fn::{name}": argument})
        resolved = self._resolve(argument)
        match name:
            case "GetAtt":
                logical_id, attribute = (
                    resolved.split(".", 1) if isinstance(resolved, str) else resolved
                )
                return self.attribute(logical_id, attribute)
            case "Join":
                return resolved[0].join(str(part) for part in resolved[1])
            case "Split":
                return resolved[1].split(resolved[0])
            case "Select":
                return resolved[1][int(resolved[0])]
            case "FindInMap":
                return self.mappings[resolved[0]][resolved[1]][resolved[2]]
            case "ImportValue":
                if resolved not in self.exports:
                    raise TemplateError(f"No export named {resolved} found.")
                return self.exports[resolved]
            case "GetAZs":
                region = resolved or self.values["AWS::Region"]
                return [f"{region}{zone}" for zone in "abc"]
            case "Base64":
                return base64.b64encode(resolved.encode()).decode()
            case "ToJsonString":
                return json.dumps(resolved)
        raise TemplateError(f"the function Fn::{name} is not known to the local cloud")

    def _sub(self, argument: Any) -> str:
        template, variables = (argument, {}) if isinstance(argument, str) else argument
        values = {key: self._resolve(item) for key, item in variables.items()}

        def replace(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return "${" + name + "}"
            if name in values:
                return str(values[name])
            return str(self._function("GetAtt", name) if "." in name else self._ref(name))

        return _SUBSTITUTION.sub(replace, template)

    def _test(self, node: Any) -> bool:
        if isinstance(node, bool):
            return node
        ((name, argument),) = node.items()
        match name:
            case "Condition":
                return self.condition(argument)
            case "Fn::Equals":
                left, right = self._resolve(argument)
                return str(left) == str(right)
            case "Fn::Not":
                return not self._test(argument[0])
            case "Fn::And":
                return all(self._test(item) for item in argument)
            case "Fn::Or":
                return any(self._test(item) for item in argument)
        raise TemplateError(f"{name} is not a condition")


def references(node: Any) -> Iterator[str]:
    """Yield the names that `node` refers to: logical ids, parameters and pseudo parameters."""
    if isinstance(node, list):
        for item in node:
            yield from references(item)
    elif isinstance(node, dict):
        for key, item in node.items():
            if key == "Ref" and isinstance(item, str):
                yield item
            elif key == "Fn::GetAtt":
                yield item.split(".", 1)[0] if isinstance(item, str) else item[0]
            elif key == "Fn::Sub":
                template = item if isinstance(item, str) else item[0]
                yield from (
                    name.split(".", 1)[0]
                    for literal, name in _SUBSTITUTION.findall(template)
                    if not literal
                )
                yield from references([] if isinstance(item, str) else item[1])
            else:
                yield from references(item)


def in_order(resources: Mapping[str, Any]) -> list[str]:
    """Return the logical ids, each after all ids that it refers to or names in DependsOn.

    Raises TemplateError with the ids of a cycle, if there is one.
    """
    ordered: list[str] = []
    visited: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in visited:
            return
        if name in path:
            raise TemplateError(
                f"Circular dependency between resources: [{', '.join(path[path.index(name) :])}]"
            )
        depends = resources[name].get("DependsOn", [])
        dependencies = [
            *([depends] if isinstance(depends, str) else depends),
            *references(resources[name].get("Properties")),
            *references(resources[name].get("UpdatePolicy")),
        ]
        for other in dependencies:
            if other in resources and other != name:
                visit(other, (*path, name))
        visited.add(name)
        ordered.append(name)

    for name in resources:
        visit(name, ())
    return ordered
