"""Intrinsic functions and the order of resources."""

from typing import Any

import pytest

from local.cloudformation.intrinsics import Scope, TemplateError, in_order
from local.cloudformation.references import resolve


def _scope(**changes: Any) -> Scope:
    values = {"AWS::Region": "us-east-1", "Name": "x", "List": ["a", "b"]}
    return Scope(
        **{"values": values, "attribute": lambda name, attribute: f"{name}.{attribute}", **changes}
    )


@pytest.mark.parametrize(
    ("node", "value"),
    [
        ({"Ref": "Name"}, "x"),
        ({"Ref": "Thing"}, "Thing.None"),
        ({"Fn::GetAtt": ["Thing", "Arn"]}, "Thing.Arn"),
        ({"Fn::GetAtt": "Thing.A.B"}, "Thing.A.B"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Name"}, 3]]}, "a-x-3"),
        ({"Fn::Split": [",", "a,b"]}, ["a", "b"]),
        ({"Fn::Select": ["1", {"Ref": "List"}]}, "b"),
        (
            {"Fn::Sub": "${Name}/${AWS::Region}/${Thing.Arn}/${!Kept}"},
            "x/us-east-1/Thing.Arn/${Kept}",
        ),
        ({"Fn::Sub": ["${A}${Name}", {"A": {"Ref": "Name"}}]}, "xx"),
        ({"Fn::If": ["Yes", "y", "n"]}, "y"),
        ({"Fn::If": ["No", "y", {"Ref": "AWS::NoValue"}]}, None),
        ({"Fn::FindInMap": ["M", "a", "b"]}, 1),
        ({"Fn::ImportValue": "out"}, "exported"),
        ({"Fn::Base64": "hi"}, "aGk="),
        ({"Fn::ToJsonString": {"a": {"Ref": "Name"}}}, '{"a": "x"}'),
        ([{"Ref": "AWS::NoValue"}, 1], [1]),
        ({"a": {"Ref": "AWS::NoValue"}, "b": {"c": [{"Ref": "Name"}]}}, {"b": {"c": ["x"]}}),
    ],
)
def test_functions(node: Any, value: Any) -> None:
    """Each intrinsic function has its value."""
    conditions = {
        "Yes": {
            "Fn::And": [{"Fn::Equals": [{"Ref": "Name"}, "x"]}, {"Fn::Not": [{"Condition": "No"}]}]
        },
        "No": {"Fn::Or": [{"Fn::Equals": ["1", "2"]}]},
    }
    scope = _scope(
        conditions=conditions, mappings={"M": {"a": {"b": 1}}}, exports={"out": "exported"}
    )
    assert scope.resolve(node) == value


@pytest.mark.parametrize(
    "node", [{"Fn::ImportValue": "none"}, {"Fn::Cidr": ["a"]}, {"Fn::If": ["None", 1, 2]}]
)
def test_what_cannot_be_resolved_says_so(node: Any) -> None:
    """An unknown export, function or condition is an error, never an empty value."""
    with pytest.raises(TemplateError):
        _scope().resolve(node)


def test_order_of_dependencies() -> None:
    """Resources come after those that they refer to or depend on."""
    resources = {
        "A": {"Properties": {"x": {"Fn::Sub": "${B.Arn}"}}},
        "B": {"DependsOn": "C"},
        "C": {"Properties": {"y": [{"Fn::Join": ["", [{"Ref": "D"}]]}]}},
        "D": {},
    }
    assert in_order(resources) == ["D", "C", "B", "A"]


def test_a_circle_is_named() -> None:
    """A circular dependency is an error that names its members."""
    with pytest.raises(TemplateError, match=r"\[A, B\]"):
        in_order({"A": {"DependsOn": "B"}, "B": {"DependsOn": ["A"]}})


def test_references_put_together_by_join() -> None:
    """A reference that only Fn::Join completes is resolved, too."""
    scope = _scope(text=lambda text: resolve(text, lambda *_: "secret", lambda *_: ""))
    node = {
        "Fn::Join": ["", ["x{{resolve:secretsmanager:", {"Ref": "Thing"}, ":SecretString:::}}"]]
    }
    assert scope.resolve({"a": [node]}) == {"a": ["xsecret"]}
