"""The WebSocket API, its function and their grants."""

import json
from typing import Any

import pytest

from infra.constructs.socket_function import CONTROL_CONCURRENCY
from infra.constructs.websocket_api import CANCEL, STAGE, TEMPLATE
from infra.settings.deployment import DEV, SettingsError
from local.apigateway.templates import check
from tests.support.synthesis import Synthesis

HANDLER = "lambda_fn.socket.gateway.main.run"
CONTROL = "lambda_fn.socket.gateway.control_main.run"


@pytest.fixture(scope="module")
def sockets(everything: Synthesis) -> Synthesis:
    """Return a synthesis with sockets."""
    return everything


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
    assert not {HANDLER, CONTROL} & set(handlers)


def test_routes(sockets: Synthesis) -> None:
    """`$connect` waits for its function. The others do not, and pass the message in base64.

    What must not wait for answers has a function of its own.
    """
    routes = {
        it["Properties"]["RouteKey"]: it["Properties"]["Target"]
        for it in sockets.resources("AWS::ApiGatewayV2::Route")
    }
    assert routes.keys() == {"$connect", "$default", CANCEL, "$disconnect"}
    assert len({json.dumps(target) for target in routes.values()}) == 3
    assert routes[CANCEL] == routes["$disconnect"]
    waits = one(sockets, "ApiGatewayV2::Integration", IntegrationType="AWS_PROXY")
    assert "RequestParameters" not in waits
    events = [
        it["Properties"]
        for it in sockets.resources("AWS::ApiGatewayV2::Integration")
        if it["Properties"]["IntegrationType"] == "AWS"
    ]
    assert [list(event["RequestParameters"].values()) for event in events] == [["'Event'"]] * 2
    assert [event["RequestTemplates"] for event in events] == [{"$default": TEMPLATE}] * 2
    check(TEMPLATE)


def test_the_stage(sockets: Synthesis) -> None:
    """Its name is the path that SDKs append. Its log has no query, and rates are limited."""
    stage = one(sockets, "ApiGatewayV2::Stage")
    assert stage["StageName"] == STAGE == "responses"
    assert stage["RouteSettings"] == {
        "$connect": {"ThrottlingRateLimit": 100, "ThrottlingBurstLimit": 200},
        "$default": {"ThrottlingRateLimit": 1000, "ThrottlingBurstLimit": 1000},
        "response.cancel": {"ThrottlingRateLimit": 1000, "ThrottlingBurstLimit": 1000},
    }
    line = json.loads(stage["AccessLogSettings"]["Format"])
    assert not [value for value in line.values() if "query" in value.lower()]
    assert not [value for value in line.values() if "identity" in value]


def test_the_stage_comes_after_its_routes(sockets: Synthesis) -> None:
    """API Gateway refuses a stage with settings of a route that does not exist yet."""
    [stage] = sockets.resources("AWS::ApiGatewayV2::Stage")
    resources = sockets.service["Resources"]
    routes = {name for name, it in resources.items() if it["Type"] == "AWS::ApiGatewayV2::Route"}
    assert len(routes) == 4
    assert routes <= set(stage["DependsOn"])


def test_the_function(sockets: Synthesis) -> None:
    """It is the stream function's package with a concurrency of its own. No request is repeated."""
    stream = sockets.function("lambda_fn.stream.main.run")
    function = sockets.function(HANDLER)
    same = ("Code", "MemorySize", "Runtime", "Timeout", "TracingConfig", "Architectures")
    assert {name: function[name] for name in same} == {name: stream[name] for name in same}
    assert function["ReservedConcurrentExecutions"] == 100
    variables = function["Environment"]["Variables"]
    assert stream["Environment"]["Variables"].items() <= variables.items()
    assert variables.keys() - stream["Environment"]["Variables"].keys() == {"SLUICE_WEBSOCKET_URL"}
    retries = [
        it["Properties"]
        for it in sockets.resources("AWS::Lambda::EventInvokeConfig")
        if '"Socket' in json.dumps(it["Properties"]["FunctionName"])
    ]
    found = {
        "DestinationConfig" in it: (it["MaximumRetryAttempts"], it["MaximumEventAgeInSeconds"])
        for it in retries
    }
    assert found == {True: (0, 60), False: (1, 180)}
    [told] = [it["DestinationConfig"] for it in retries if "DestinationConfig" in it]
    assert "SocketControlReleaseAlias" in json.dumps(told["OnFailure"])


def test_the_control_function(sockets: Synthesis) -> None:
    """It is the same package with a concurrency of its own, and knows nothing of how to answer."""
    function, control = sockets.function(HANDLER), sockets.function(CONTROL)
    assert control["Code"] == function["Code"]
    assert control["ReservedConcurrentExecutions"] == CONTROL_CONCURRENCY
    assert control["Timeout"] < function["Timeout"]
    variables = control["Environment"]["Variables"]
    name = variables.pop("SLUICE_SOCKET_FUNCTION")
    assert name == f"{function['FunctionName']}:live"
    assert variables.items() < function["Environment"]["Variables"].items()
    assert "SLUICE_FALLBACKS" not in variables


def test_grants(sockets: Synthesis) -> None:
    """The control function spends tickets, and the recall function makes them."""
    found = {}
    for it in sockets.resources("AWS::IAM::Policy"):
        for statement in it["Properties"]["PolicyDocument"]["Statement"]:
            keys = json.dumps(statement.get("Condition", {}))
            if '"T#*"' in keys:
                actions = statement["Action"]
                found[it["Properties"]["PolicyName"].partition("Role")[0]] = actions
    assert found == {
        "SocketControl": ["dynamodb:GetItem", "dynamodb:DeleteItem"],
        "Recall": "dynamodb:PutItem",
    }


def test_the_items_of_sockets(sockets: Synthesis) -> None:
    """The functions of sockets read, put and count them. The sweeper deletes them."""
    found = {}
    for it in sockets.resources("AWS::IAM::Policy"):
        for statement in it["Properties"]["PolicyDocument"]["Statement"]:
            if '"C#*"' in json.dumps(statement.get("Condition", {})):
                policy = it["Properties"]["PolicyName"].partition("Role")[0]
                found[policy] = statement["Action"]
    own = ["dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:UpdateItem"]
    deletes = "dynamodb:DeleteItem"
    assert found == {"Socket": own, "SocketControl": own, "Sweeper": deletes}


def test_it_watches_its_logs_as_the_stream_function_does(sockets: Synthesis) -> None:
    """Both read the states of many responses in one call. No other function does."""
    found = [
        (it["Properties"]["PolicyName"].partition("Role")[0], statement["Condition"])
        for it in sockets.resources("AWS::IAM::Policy")
        for statement in it["Properties"]["PolicyDocument"]["Statement"]
        if "dynamodb:BatchGetItem" in statement["Action"]
    ]
    assert sorted(name for name, _ in found) == ["Socket", "Stream"]
    assert found[0][1] == found[1][1]


def in_usage_table(sockets: Synthesis, policy: str) -> set[tuple[str, str]]:
    """Return the actions of a role in the usage table, with the partitions."""
    found = set()
    for it in sockets.resources("AWS::IAM::Policy"):
        if it["Properties"]["PolicyName"].partition("Role")[0] != policy:
            continue
        for statement in it["Properties"]["PolicyDocument"]["Statement"]:
            if "UsageTable" in json.dumps(statement["Resource"]) and "Condition" in statement:
                keys = statement["Condition"]["ForAllValues:StringLike"]["dynamodb:LeadingKeys"]
                actions = statement["Action"]
                for action in [actions] if isinstance(actions, str) else actions:
                    found |= {(action, key) for key in ([keys] if isinstance(keys, str) else keys)}
    return found


def test_it_meters_as_the_stream_function_does(sockets: Synthesis) -> None:
    """It may write all that a settlement writes. Usage is read by the stream function only."""
    reports = {("dynamodb:Query", "USAGE"), ("dynamodb:Query", "USAGE#*")}
    assert in_usage_table(sockets, "Socket") == in_usage_table(sockets, "Stream") - reports
    assert ("dynamodb:PutItem", "ALERTS") in in_usage_table(sockets, "Socket")


def test_it_needs_the_table_of_kept_answers() -> None:
    """Without kept answers a message could not find the response of another."""
    with pytest.raises(SettingsError, match="websocket: needs persistence"):
        DEV.replace(websocket=True, persistence="off")
