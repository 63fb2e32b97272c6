"""Properties of a resource that CloudFormation rejects."""

from typing import Any

import pytest

from local.cloudformation.schemas import violations


@pytest.mark.parametrize(
    ("kind", "properties", "problem"),
    [
        (
            "AWS::Lambda::Function",
            {"Code": {}, "Role": "r", "Timeout": "30", "MemorySize": 128.0},
            None,
        ),
        ("AWS::Lambda::Function", {"Code": {}}, "#: required key [Role] not found"),
        (
            "AWS::Lambda::Function",
            {"Code": {}, "Role": "r", "Memory": 1},
            "#: extraneous key [Memory] is not permitted",
        ),
        (
            "AWS::Lambda::Function",
            {"Code": {}, "Role": "r", "Environment": {"Variables": "A=b"}},
            "#/Environment/Variables: expected type: JSONObject, found: String",
        ),
        (
            "AWS::Lambda::Function",
            {"Code": {}, "Role": "r", "Timeout": "soon"},
            "#/Timeout: expected type: Integer, found: String",
        ),
        (
            "AWS::Lambda::Url",
            {"TargetFunctionArn": "a", "AuthType": "OPEN"},
            "#/AuthType: OPEN is not a valid enum value",
        ),
        (
            "AWS::DynamoDB::GlobalTable",
            {"KeySchema": [{"AttributeName": "pk"}], "Replicas": []},
            "#/KeySchema/0: required key [KeyType] not found",
        ),
        ("AWS::Unheard::Of", {"Anything": 1}, None),
    ],
)
def test_properties(kind: str, properties: dict[str, Any], problem: str | None) -> None:
    """A type's schema decides which properties are valid.

    Strings are converted as CloudFormation does it.
    """
    messages = violations(kind, properties)
    assert (messages is None) == (problem is None), messages
    assert problem is None or problem in str(messages)
