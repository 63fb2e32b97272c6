"""Templates that CloudFormation rejects before it creates anything."""

import json
from typing import Any

import pytest

from local.cloudformation.intrinsics import TemplateError
from local.cloudformation.template import check, duplicates

TOPIC: dict[str, Any] = {"Type": "AWS::SNS::Topic"}


SIZE = {"Size": "2"}


GOOD: dict[str, Any] = {
    "Parameters": {"Size": {"Type": "Number", "AllowedValues": ["1", "2"]}},
    "Conditions": {
        "Large": {"Fn::Equals": [{"Ref": "Size"}, "2"]},
        "Not": {"Fn::Not": [{"Condition": "Large"}]},
    },
    "Resources": {
        "Topic": TOPIC,
        "Other": {
            "Type": "AWS::SNS::Topic",
            "Condition": "Large",
            "DependsOn": ["Topic"],
            "Properties": {"DisplayName": {"Fn::Sub": "${Topic.TopicArn} ${Size} ${AWS::Region}"}},
        },
    },
    "Outputs": {"Arn": {"Value": {"Fn::GetAtt": "Topic.TopicArn"}}},
}


def _topic(value: Any, **other: Any) -> dict[str, Any]:
    return {
        "Resources": {"Topic": TOPIC, "T": {**TOPIC, "Properties": {"DisplayName": value}, **other}}
    }


def test_a_good_template() -> None:
    """A valid template with parameters, conditions, references and outputs causes no message."""
    check(GOOD, SIZE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Resources": {}}, "At least one Resources member must be defined"),
        ({"Resurces": {}}, "Invalid template property or properties [Resurces]"),
        ({"Resources": {"My-Topic": TOPIC}}, "Resource name My-Topic is non alphanumeric"),
        ({"Resources": {"T": {}}}, "Every Resources object must contain a Type member"),
        (
            {"Resources": {"T": {**TOPIC, "Propertys": {}}}},
            "Invalid template resource property 'Propertys'",
        ),
        (
            {"Resources": {"T": {**TOPIC, "Properties": []}}},
            "every Properties member must be an object",
        ),
        (
            _topic({"Ref": "Nobody"}),
            "Unresolved resource dependencies [Nobody] in the Resources block",
        ),
        (
            _topic({"Fn::Sub": "a ${Nobody.Arn}"}),
            "Unresolved resource dependencies [Nobody] in the Resources block",
        ),
        (
            _topic({"Fn::GetAtt": ["Nobody", "Arn"]}),
            "instance of Fn::GetAtt references undefined resource Nobody",
        ),
        (
            _topic({"Fn::GetAtt": ["Topic", "Nothing"]}),
            "resource Topic does not support attribute type Nothing",
        ),
        (
            _topic({"Fn::Shout": "a"}),
            "Encountered unsupported function: Fn::Shout Supported functions are: [Fn::Base64",
        ),
        (
            _topic({"Fn::If": ["Nobody", "a", "b"]}),
            "Unresolved condition dependency Nobody in the Resources block",
        ),
        (
            _topic("a", Condition="Nobody"),
            "Unresolved condition dependency Nobody in the Resources block",
        ),
        (
            _topic("a", DependsOn="Nobody"),
            "Unresolved resource dependencies [Nobody] in the Resources block",
        ),
        (_topic({"Ref": "T2"}) | {}, "Unresolved resource dependencies [T2]"),
        (
            {
                "Resources": {
                    name: {**TOPIC, "DependsOn": other} for name, other in (("A", "B"), ("B", "A"))
                }
            },
            "Circular dependency between resources: [A, B]",
        ),
        (
            {"Conditions": {"C": {"Fn::Equals": [{"Ref": "Topic"}, "a"]}}},
            "Cannot reference resources in the Conditions",
        ),
        (
            {"Conditions": {"C": {"Condition": "Nobody"}}},
            "Unresolved condition dependency Nobody in the Conditions",
        ),
        (
            {"Outputs": {"A": {"Value": {"Ref": "Nobody"}}}},
            "[Nobody] in the Outputs block of the template",
        ),
        ({"Outputs": {"A": {}}}, "Output A is malformed"),
        (
            {"Resources": {f"T{number}": TOPIC for number in range(501)}},
            "Number of resources, 501, is greater than maximum",
        ),
        ({"Parameters": {"P": {"Type": "String"}}}, "Parameters: [P] must have values"),
        (
            {"Parameters": {"P": {"Type": "String", "Default": "a"}}},
            "Parameters: [Size] do not exist in the template",
        ),
        (
            {"Parameters": {"Size": {"Type": "String", "AllowedValues": ["3"]}}},
            "Parameter 'Size' must be one of AllowedValues",
        ),
        (
            {"Parameters": {"Size": {"Type": "String", "AllowedPattern": "b+"}}},
            "failed to satisfy constraint: b+",
        ),
    ],
)
def test_bad_templates(change: dict[str, Any], message: str) -> None:
    """Each mistake is rejected in CloudFormation's words."""
    rest: dict[str, Any] = (
        {"Conditions": {}, "Outputs": {}} if "Resources" in change or "Parameters" in change else {}
    )
    template = {**GOOD, "Resources": {"Topic": TOPIC}, **rest, **change}
    with pytest.raises(TemplateError) as refused:
        check(
            template,
            {}
            if "P" in template["Parameters"] and "Default" not in template["Parameters"]["P"]
            else SIZE,
        )
    assert message in str(refused.value)


def test_a_name_given_twice() -> None:
    """JSON with two resources of one name is rejected, because one of them would be lost."""
    duplicates(json.dumps(GOOD))
    with pytest.raises(TemplateError, match=r"duplicate key \[T\]"):
        duplicates('{"Resources": {"T": {}, "T": {}}}')
