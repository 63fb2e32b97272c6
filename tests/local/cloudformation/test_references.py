"""Dynamic references to secrets and parameters."""

import pytest

from local.cloudformation.intrinsics import TemplateError
from local.cloudformation.references import resolve

ARN = "arn:aws:secretsmanager:us-east-1:123456789012:secret:name-AbCdEf"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{resolve:secretsmanager:name}}", "name//"),
        ("{{resolve:secretsmanager:name:SecretString}}", "name//"),
        (f"{{{{resolve:secretsmanager:{ARN}:SecretString:::}}}}", f"{ARN}//"),
        (
            "a{{resolve:secretsmanager:json:SecretString:key}}b{{resolve:ssm:/p/q:3}}",
            "avalueb/p/q@3",
        ),
        ("{{resolve:secretsmanager:name:SecretString::AWSPREVIOUS:v1}}", "name/AWSPREVIOUS/v1"),
        ("{{resolve:ssm-secure:p}}", "p@"),
        ("nothing {{here}}", "nothing {{here}}"),
    ],
)
def test_dynamic_references(text: str, value: str) -> None:
    """References are replaced anywhere in a string, also those with ARNs and JSON keys."""
    resolved = resolve(
        text,
        lambda name, stage, version: (
            '{"key": "value"}' if name == "json" else f"{name}/{stage}/{version}"
        ),
        lambda name, version: f"{name}@{version}",
    )
    assert resolved == value


@pytest.mark.parametrize(
    "text", ["{{resolve:s4:x}}", "{{resolve:secretsmanager:x:SecretString:missing}}"]
)
def test_bad_dynamic_references(text: str) -> None:
    """A reference to a missing secret or parameter is an error."""
    with pytest.raises(TemplateError):
        resolve(text, lambda *_: "{}", lambda *_: "")
