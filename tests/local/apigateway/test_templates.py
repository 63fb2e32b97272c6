"""Mapping templates."""

import base64
import json

import pytest

from local.apigateway.templates import UnknownTemplate, check, render

TEMPLATE = (
    '{"requestContext": {"connectionId": "$context.connectionId", "at": $context.requestTimeEpoch,'
    ' "ip": "$context.identity.sourceIp", "none": "$context.nothing.there"},'
    ' "body": "$util.base64Encode($input.body)"}'
)


def test_render() -> None:
    """A template gets members of the context, also nested ones, and the body."""
    context = {"connectionId": "a=", "requestTimeEpoch": 5, "identity": {"sourceIp": "127.0.0.1"}}
    body = "\"quotes\" and 'quotes' $context.connectionId ä\n"
    check(TEMPLATE)
    rendered = json.loads(render(TEMPLATE, context, body))
    assert base64.b64decode(rendered["body"]).decode() == body
    assert rendered["requestContext"] == {
        "connectionId": "a=",
        "at": 5,
        "ip": "127.0.0.1",
        "none": "",
    }
    assert render("$input.body", context, body) == body


@pytest.mark.parametrize(
    "template", ["$input.json('$')", "#set($a = 1)", "$util.escapeJavaScript($input.body)"]
)
def test_unknown(template: str) -> None:
    """VTL that the local cloud does not know is refused, and never passed on as it stands."""
    with pytest.raises(UnknownTemplate, match="no other VTL"):
        check(template)
