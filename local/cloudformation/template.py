"""The template errors that CloudFormation reports before it touches a resource. Pure.

Sources: the CloudFormation user guide, "Template reference" and "CloudFormation quotas". The
messages are CloudFormation's, as users report them; those for unknown sections and keys are
unconfirmed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from local.cloudformation.intrinsics import TemplateError, in_order, references
from local.cloudformation.schemas import attributes

Node = Mapping[str, Any]

MAX_RESOURCES, MAX_OUTPUTS, MAX_PARAMETERS = 500, 200, 200
LONGEST_BODY, LONGEST_TEMPLATE = 51_200, 1_000_000
_SECTIONS = {
    "AWSTemplateFormatVersion",
    "Conditions",
    "Description",
    "Hooks",
    "Mappings",
    "Metadata",
    "Outputs",
    "Parameters",
    "Resources",
    "Rules",
    "Transform",
}
_RESOURCE = {
    "Condition",
    "CreationPolicy",
    "DeletionPolicy",
    "DependsOn",
    "Metadata",
    "Properties",
    "Type",
    "UpdatePolicy",
    "UpdateReplacePolicy",
}
_FUNCTIONS = [
    "Base64", "GetAtt", "GetAZs", "ImportValue", "Join", "Split", "FindInMap", "Select", "Sub", "If", "Equals",
    "And", "Or", "Not", "Contains", "EachMemberEquals", "EachMemberIn", "ValueOf", "ValueOfAll", "RefAll", "Cidr",
    "Length", "ToJsonString", "Transform",
]  # fmt: skip


def check(template: Node, parameters: Mapping[str, Any] | None = None) -> None:
    """Raise TemplateError for a template that CloudFormation refuses.

    `parameters`, unless None, must match the template's parameters.
    """
    _sections(template)
    resources = template["Resources"]
    for name, node in resources.items():
        _resource(name, node)
    names = {*resources, *template.get("Parameters", {})}
    conditions = template.get("Conditions", {})
    for node in resources.values():
        _depends(node, resources)
        _uses(node.get("Properties"), names, resources, conditions, "Resources")
        if (condition := node.get("Condition")) is not None and condition not in conditions:
            raise TemplateError(_condition(condition, "Resources"))
    for node in conditions.values():
        _conditions(node, template)
    _outputs(template, names, resources, conditions)
    in_order(resources)
    if parameters is not None:
        _parameters(template.get("Parameters", {}), parameters)


def duplicates(text: str) -> None:
    """Raise TemplateError for JSON that has a key twice in one object.

    Other text is not checked.
    """

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in members]
        for key in keys:
            if keys.count(key) > 1:
                raise TemplateError(f"Template format error: duplicate key [{key}]")
        return dict(members)

    if text.lstrip().startswith("{"):
        try:
            json.loads(text, object_pairs_hook=pairs)
        except ValueError:
            return


def _sections(template: Node) -> None:
    unknown = [name for name in template if name not in _SECTIONS]
    if unknown:
        raise TemplateError(
            "Template validation error: Invalid template property or properties "
            f"[{', '.join(unknown)}]"
        )
    resources = template.get("Resources")
    if not isinstance(resources, dict) or not resources:
        raise TemplateError("Template format error: At least one Resources member must be defined.")
    for section, maximum in (
        ("Resources", MAX_RESOURCES),
        ("Outputs", MAX_OUTPUTS),
        ("Parameters", MAX_PARAMETERS),
    ):
        count = len(template.get(section) or {})
        if count > maximum:
            raise TemplateError(
                f"Template format error: Number of {section.lower()}, {count}, is greater "
                f"than maximum allowed, {maximum}"
            )


def _resource(name: str, node: Any) -> None:
    if not re.fullmatch(r"[A-Za-z0-9]{1,255}", name):
        raise TemplateError(f"Template format error: Resource name {name} is non alphanumeric.")
    if not isinstance(node, dict):
        raise TemplateError(
            f"Template format error: [/Resources/{name}] resource definition is malformed"
        )
    if not isinstance(node.get("Type"), str):
        raise TemplateError(
            "Template format error: Every Resources object must contain a Type member."
        )
    for key in node:
        if key not in _RESOURCE and not key.startswith("Fn::"):
            raise TemplateError(
                f"Template validation error: Invalid template resource property '{key}'"
            )
    if not isinstance(node.get("Properties", {}), dict):
        raise TemplateError(
            f"Template format error: [/Resources/{name}/Properties] every Properties member "
            "must be an object"
        )


def _depends(node: Node, resources: Node) -> None:
    names = node.get("DependsOn", [])
    for name in [names] if isinstance(names, str) else names:
        if name not in resources:
            raise TemplateError(_unresolved(name, "Resources"))


def _uses(node: Any, names: Iterable[str], resources: Node, conditions: Node, block: str) -> None:
    for function, argument in _functions(node):
        if function not in _FUNCTIONS:
            supported = ", ".join(f"Fn::{name}" for name in _FUNCTIONS)
            raise TemplateError(
                f"Template error: Encountered unsupported function: Fn::{function} "
                f"Supported functions are: [{supported}]"
            )
        if (
            function == "If"
            and isinstance(argument, list)
            and argument
            and argument[0] not in conditions
        ):
            raise TemplateError(_condition(argument[0], block))
        if function == "GetAtt":
            _attribute(argument, resources)
    for name in references(node):
        if name not in names and not name.startswith("AWS::"):
            raise TemplateError(_unresolved(name, block))


def _functions(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from _functions(item)
    elif isinstance(node, dict):
        for key, item in node.items():
            if len(node) == 1 and key.startswith("Fn::"):
                yield key[4:], item
            yield from _functions(item)


def _attribute(argument: Any, resources: Node) -> None:
    name, _, attribute = (
        argument.partition(".") if isinstance(argument, str) else (argument[0], "", argument[1])
    )
    if name not in resources:
        raise TemplateError(
            f"Template error: instance of Fn::GetAtt references undefined resource {name}"
        )
    supported = attributes(resources[name]["Type"])
    if supported is not None and isinstance(attribute, str) and attribute not in supported:
        raise TemplateError(
            f"Template error: resource {name} does not support attribute type {attribute} in "
            "Fn::GetAtt"
        )


def _conditions(node: Any, template: Node) -> None:
    allowed = {*template.get("Parameters", {}), *template.get("Mappings", {})}
    for name in references(node):
        if name not in allowed and not name.startswith("AWS::"):
            raise TemplateError(
                f"Template format error: Unresolved dependencies [{name}]. "
                "Cannot reference resources in the Conditions block of the template"
            )
    for name in _named(node):
        if name not in template["Conditions"]:
            raise TemplateError(_condition(name, "Conditions"))


def _named(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _named(item)
    elif isinstance(node, dict):
        for key, item in node.items():
            if key == "Condition" and isinstance(item, str):
                yield item
            yield from _named(item)


def _outputs(template: Node, names: Iterable[str], resources: Node, conditions: Node) -> None:
    for name, node in (template.get("Outputs") or {}).items():
        if not isinstance(node, dict) or "Value" not in node:
            raise TemplateError(
                f"Template format error: Output {name} is malformed. The Value field of "
                "every Outputs member must be "
                "specified."
            )
        if (condition := node.get("Condition")) is not None and condition not in conditions:
            raise TemplateError(_condition(condition, "Outputs"))
        _uses(node["Value"], names, resources, conditions, "Outputs")
        _uses(node.get("Export"), names, resources, conditions, "Outputs")


def _parameters(slots: Node, values: Mapping[str, Any]) -> None:
    if missing := [
        name for name, slot in slots.items() if name not in values and "Default" not in slot
    ]:
        raise TemplateError(f"Parameters: [{', '.join(missing)}] must have values")
    if unknown := [name for name in values if name not in slots]:
        raise TemplateError(f"Parameters: [{', '.join(unknown)}] do not exist in the template")
    for name, slot in slots.items():
        value = str(values.get(name, slot.get("Default")))
        if slot.get("AllowedValues") and value not in map(str, slot["AllowedValues"]):
            allowed = ", ".join(map(str, slot["AllowedValues"]))
            raise TemplateError(f"Parameter '{name}' must be one of AllowedValues [{allowed}]")
        if slot.get("AllowedPattern") and not re.fullmatch(slot["AllowedPattern"], value):
            raise TemplateError(
                f"Parameter {name} failed to satisfy constraint: {slot['AllowedPattern']}"
            )


def _unresolved(name: str, block: str) -> str:
    return (
        f"Template format error: Unresolved resource dependencies [{name}] in the {block} block "
        "of the template"
    )


def _condition(name: str, block: str) -> str:
    return (
        f"Template format error: Unresolved condition dependency {name} in the {block} block of "
        "the template"
    )
