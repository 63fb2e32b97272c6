"""WebSocket APIs that templates create, used as a client and as a backend with stock boto3."""

import asyncio
import json
from typing import Any

import aiohttp
import boto3
import pytest
from botocore.exceptions import ClientError

from local.cloud import REGION, LocalCloud
from tests.support.local_cloud import Client, Stacks
from tests.support.resources import ROLE, function

_CODE = "def handler(event, context):\n    return {'statusCode': 200}\n"


def _role(*statements: dict[str, Any]) -> dict[str, Any]:
    trust = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}
    document = {"Version": "2012-10-17", "Statement": list(statements)}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Version": "2012-10-17", "Statement": [trust]},
            "Policies": [{"PolicyName": "own", "PolicyDocument": document}],
        },
    }


def _arn(*end: str) -> dict[str, Any]:
    api = {"Fn::Sub": "arn:aws:execute-api:${AWS::Region}:${AWS::AccountId}:${Api}"}
    return {"Fn::Join": ["/", [api, *end]]}


def _api(selection: str = "$request.body.action") -> dict[str, Any]:
    return {
        "Name": "sockets",
        "ProtocolType": "WEBSOCKET",
        "RouteSelectionExpression": selection,
    }


def _everything() -> dict[str, Any]:
    uri = {
        "Fn::Sub": "arn:${AWS::Partition}:apigateway:${AWS::Region}:lambda:path/2015-03-31/"
        "functions/${Function.Arn}/invocations"
    }
    api = {"ApiId": {"Ref": "Api"}}
    manage = {
        "Effect": "Allow",
        "Action": "execute-api:ManageConnections",
        "Resource": _arn("prod", "POST", "@connections", "*"),
    }
    return {
        "Role": ROLE,
        "Function": function(Code={"ZipFile": _CODE}),
        "Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": _api()},
        "Integration": {
            "Type": "AWS::ApiGatewayV2::Integration",
            "Properties": {**api, "IntegrationType": "AWS_PROXY", "IntegrationUri": uri},
        },
        **{
            f"Route{number}": {
                "Type": "AWS::ApiGatewayV2::Route",
                "Properties": {
                    **api,
                    "RouteKey": key,
                    "Target": {"Fn::Join": ["/", ["integrations", {"Ref": "Integration"}]]},
                },
            }
            for number, key in enumerate(("$connect", "$default", "$disconnect"))
        },
        "Deployment": {
            "Type": "AWS::ApiGatewayV2::Deployment",
            "DependsOn": ["Route0", "Route1", "Route2"],
            "Properties": api,
        },
        "Stage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "Properties": {**api, "StageName": "prod", "DeploymentId": {"Ref": "Deployment"}},
        },
        "Permission": {
            "Type": "AWS::Lambda::Permission",
            "Properties": {
                "FunctionName": {"Ref": "Function"},
                "Action": "lambda:InvokeFunction",
                "Principal": "apigateway.amazonaws.com",
                "SourceArn": _arn("prod", "*"),
            },
        },
        "Backend": _role(manage),
        "Stranger": _role({**manage, "Action": "execute-api:Invoke"}),
    }


OUTPUTS = {
    "Url": {"Fn::Join": ["/", [{"Fn::GetAtt": ["Api", "ApiEndpoint"]}, {"Ref": "Stage"}]]},
    "Backend": {"Fn::GetAtt": ["Backend", "Arn"]},
    "Stranger": {"Fn::GetAtt": ["Stranger", "Arn"]},
}


def _as_role(client: Client, role: str, url: str) -> Any:
    keys = client("sts").assume_role(RoleArn=role, RoleSessionName="test")["Credentials"]
    return boto3.client(
        "apigatewaymanagementapi",
        region_name=REGION,
        endpoint_url=url.replace("ws://", "http://"),
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


def _code(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


async def test_a_websocket_api(cloud: LocalCloud, client: Client, stacks: Stacks) -> None:
    """A client connects to what a template has made, and a role with the permission posts to it."""
    stack = await asyncio.to_thread(stacks.create, _everything(), OUTPUTS)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    outputs = stacks.outputs(stack)
    [shown] = cloud.ask("status")["gateways"]
    assert outputs["Url"] == f"{shown['url']}/prod"
    backend = _as_role(client, outputs["Backend"], outputs["Url"])
    stranger = _as_role(client, outputs["Stranger"], outputs["Url"])
    async with aiohttp.ClientSession() as session:
        socket = await session.ws_connect(outputs["Url"])
        await socket.send_str('{"action": "none"}')
        gone = {"ConnectionId": "AAAAAAAAAAAAAAA="}
        assert _code(backend.post_to_connection, **gone, Data=b"x") == "GoneException"
        assert _code(stranger.post_to_connection, **gone, Data=b"x") == "AccessDeniedException"
        assert _code(backend.delete_connection, **gone) == "AccessDeniedException"
        await socket.close()
    await asyncio.to_thread(stacks.delete, stack)
    assert cloud.ask("status")["gateways"] == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Api": {"ProtocolType": "HTTP"}}, "WEBSOCKET only"),
        ({"Api": {"RouteSelectionExpression": "$context.x"}}, "cannot select routes"),
        ({"Integration": {"IntegrationType": "HTTP_PROXY"}}, "integrations of Lambda only"),
        ({"Integration": {"IntegrationType": "AWS"}}, "template selection"),
        ({"Integration": {"RequestParameters": {"a": "b"}}}, "request parameters"),
        # These two fail on AWS, too.
        ({"Stage": {"RouteSettings": {"$connect": {"throttlingRateLimit": 1}}}}, "unsupported"),
        ({"Stage": {"RouteSettings": {"another": {}}}}, "Unable to find Route by key another"),
    ],
)
def test_what_is_not_emulated_fails(
    stacks: Stacks, change: dict[str, dict[str, Any]], reason: str
) -> None:
    """An API that the local cloud cannot run is refused at its deployment, with the reason."""
    resources = json.loads(json.dumps(_everything()))
    for name, properties in change.items():
        resources[name]["Properties"].update(properties)
    stack = stacks.create(resources)
    assert stacks.status(stack) == "ROLLBACK_COMPLETE"
    assert reason in stacks.reasons(stack)
