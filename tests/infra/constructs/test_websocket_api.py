"""The WebSocket API, its function and their grants."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.constructs.websocket_api import STAGE, TEMPLATE
from infra.settings.deployment import DEV, SettingsError
from local.apigateway.templates import check
from tests.support.synthesis import Synthesis, synthesise

HANDLER = "lambda_fn.socket.gateway.main.run"


@pytest.fixture(scope="module")
def sockets(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    """Return a synthesis with sockets."""
    return synthesise("prod", project, tmp_path_factory.mktemp("sockets"), websocket=True)


def one(sockets: Synthesis, kind: str, **properties: Any) -> dict[str, Any]:
    """Return the properties of the only resource of a type that has some properties."""
    [found] = [
        it["Properties"]
        for it in sockets.resources(f"AWS::{kind}")
        if properties.items() <= it["Properties"].items()
    ]
    return dict(found)


def test_there_is_none_unless_it_is_wanted(synthesis: Synthesis) -> None:
    """Without the setting there is neither the API nor its function."""
    assert synthesis.resources("AWS::ApiGatewayV2::Api") == []
    assert "WebSocketBaseUrl" not in synthesis.service["Outputs"]
    handlers = [it["Properties"]["Handler"] for it in synthesis.resources("AWS::Lambda::Function")]
    assert HANDLER not in handlers


def test_routes(sockets: Synthesis) -> None:
    """`$connect` waits for its function. The others do not, and pass the message in base64."""
    routes = {
        it["Properties"]["RouteKey"]: it["Properties"]["Target"]
        for it in sockets.resources("AWS::ApiGatewayV2::Route")
    }
    assert routes.keys() == {"$connect", "$default", "$disconnect"}
    assert routes["$default"] == routes["$disconnect"] != routes["$connect"]
    waits = one(sockets, "ApiGatewayV2::Integration", IntegrationType="AWS_PROXY")
    assert "RequestParameters" not in waits
    event = one(sockets, "ApiGatewayV2::Integration", IntegrationType="AWS")
    assert list(event["RequestParameters"].values()) == ["'Event'"]
    assert event["RequestTemplates"] == {"$default": TEMPLATE}
    check(TEMPLATE)


def test_the_stage(sockets: Synthesis) -> None:
    """Its name is the path that SDKs append. Its log has no query, and handshakes are limited."""
    stage = one(sockets, "ApiGatewayV2::Stage")
    assert stage["StageName"] == STAGE == "responses"
    assert list(stage["RouteSettings"]) == ["$connect"]
    line = json.loads(stage["AccessLogSettings"]["Format"])
    assert not [value for value in line.values() if "query" in value.lower()]
    assert not [value for value in line.values() if "identity" in value]


def test_the_function(sockets: Synthesis) -> None:
    """It is the stream function's package with a concurrency of its own. No event is repeated."""
    stream = sockets.function("lambda_fn.stream.main.run")
    function = sockets.function(HANDLER)
    same = ("Code", "MemorySize", "Runtime", "Timeout", "TracingConfig", "Architectures")
    assert {name: function[name] for name in same} == {name: stream[name] for name in same}
    assert function["ReservedConcurrentExecutions"] == 100
    variables = function["Environment"]["Variables"]
    assert stream["Environment"]["Variables"].items() <= variables.items()
    assert variables.keys() - stream["Environment"]["Variables"].keys() == {"SLUICE_WEBSOCKET_URL"}
    [retries] = [
        it["Properties"]
        for it in sockets.resources("AWS::Lambda::EventInvokeConfig")
        if "SocketFunction" in json.dumps(it["Properties"]["FunctionName"])
    ]
    assert (retries["MaximumRetryAttempts"], retries["MaximumEventAgeInSeconds"]) == (0, 60)


def test_grants(sockets: Synthesis) -> None:
    """It spends tickets and makes none; the recall function makes them and spends none."""
    found = {}
    for it in sockets.resources("AWS::IAM::Policy"):
        for statement in it["Properties"]["PolicyDocument"]["Statement"]:
            keys = json.dumps(statement.get("Condition", {}))
            if '"T#*"' in keys:
                actions = statement["Action"]
                found[it["Properties"]["PolicyName"][:6]] = actions
    assert found == {
        "Socket": ["dynamodb:GetItem", "dynamodb:DeleteItem"],
        "Recall": "dynamodb:PutItem",
    }


def test_it_needs_the_table_of_kept_answers() -> None:
    """Without kept answers a message could not find the response of another."""
    with pytest.raises(SettingsError, match="websocket: needs persistence"):
        DEV.replace(websocket=True, persistence="off")
