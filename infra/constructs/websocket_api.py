"""The WebSocket API of API Gateway: the address to which sockets connect, and its routes.

`$connect` is invoked synchronously, because its result opens the socket or refuses it. All others
are invoked asynchronously, because an answer takes longer than the 29 s that API Gateway waits.
What the functions send goes by the API's `@connections`.

An environment that answers gets no other event until it has ended. So `$connect`, `$disconnect` and
the messages that cancel lead to a function of their own, whose environments are free.

The stage is called `responses`: OpenAI's SDKs append `/responses` to the base URL of sockets, and
the only path of a WebSocket API is its stage.
"""

import json
from collections.abc import Sequence

from aws_cdk import Aws, Fn, RemovalPolicy, Stack
from aws_cdk import aws_apigateway as apigateway
from aws_cdk import aws_apigatewayv2 as apigatewayv2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.function import RETENTION
from infra.nag import accept, place
from infra.settings.deployment import Settings

STAGE = "responses"
"""The name of the stage, which is the path of the address."""
CANCEL = "response.cancel"
"""The type of the messages that have a route of their own."""
API_GATEWAY = "apigateway.amazonaws.com"
TEMPLATE = (
    '{"requestContext": {"connectionId": "$context.connectionId", '
    '"eventType": "$context.eventType", "messageId": "$context.messageId", '
    '"requestTimeEpoch": $context.requestTimeEpoch}, '
    # In base64 a message needs no escaping, whatever it is.
    '"body": "$util.base64Encode($input.body)"}'
)
"""The event of an asynchronous route, which `lambda_fn.socket.gateway.messages` reads."""
_LOGGED = {
    "requestId": "$context.requestId",
    "connectionId": "$context.connectionId",
    "route": "$context.routeKey",
    "event": "$context.eventType",
    "status": "$context.status",
    "time": "$context.requestTimeEpoch",
}
"""An access log line. It has no query, in which tickets come, and no address of a client."""
_CONNECTS = 100
"""Handshakes a second, with twice as many at once. Each calls the function before it is known who
asks.
"""
_MESSAGES = 1_000
"""Messages a second of each route, with as many at once. All sockets share it, so it is far above
what clients send. It keeps the rest of the account's rate, 2,500 a second in some regions, for what
is posted to them.
"""


class WebSocketApi(Construct):
    """A WebSocket API with one stage.

    `endpoint` is its address without the stage, which SDKs take as the base URL, and `url` the one
    with it. AWS WAF does not protect WebSocket APIs, so the stage limits handshakes
    and messages.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        """Create the API. It has no routes until `serve` is called."""
        super().__init__(scope, construct_id)
        self._settings = settings
        self.api = apigatewayv2.CfnApi(
            self,
            "Api",
            name=f"{settings.name}-{settings.stage}",
            protocol_type="WEBSOCKET",
            route_selection_expression="$request.body.type",
        )
        self.endpoint = self.api.attr_api_endpoint
        self.url = Fn.join("/", [self.endpoint, STAGE])

    def serve(
        self, answering: lambda_.IFunction, control: lambda_.IFunction, *grantees: iam.IGrantable
    ) -> None:
        """Lead the routes to two functions, and let the grantees post to the sockets.

        `control` opens, cancels and closes. `answering` gets all other messages.
        """
        connect = apigatewayv2.CfnIntegration(
            self,
            "Connect",
            api_id=self.api.ref,
            integration_type="AWS_PROXY",
            integration_method="POST",
            integration_uri=_uri(control),
        )
        event = self._event("Event", answering)
        signal = self._event("Signal", control)
        integrations = {
            "$connect": connect,
            "$default": event,
            CANCEL: signal,
            "$disconnect": signal,
        }
        routes = []
        for key, integration in integrations.items():
            route = apigatewayv2.CfnRoute(
                self,
                f"Route{key.removeprefix('$').removeprefix('response.').capitalize()}",
                api_id=self.api.ref,
                route_key=key,
                authorization_type="NONE",
                target=Fn.join("/", ["integrations", integration.ref]),
            )
            accept(
                route, {"APIG4": "The function authenticates at $connect, by a key or a ticket."}
            )
            routes.append(route)
        self._add_stage(routes)
        for function in (answering, control):
            function.add_permission(
                "WebSocketApi",
                principal=iam.ServicePrincipal(API_GATEWAY),
                source_arn=self._arn("*"),
            )
        for grantee in grantees:
            iam.Grant.add_to_principal(
                grantee=grantee,
                actions=["execute-api:ManageConnections"],
                resource_arns=[
                    self._arn(f"{method}/@connections/*") for method in ("POST", "GET", "DELETE")
                ],
            )
        stack = Stack.of(self)
        partition, region, account = place(stack)
        api = stack.get_logical_id(self.api)
        accept(
            stack,
            {
                f"IAM5[Resource::arn:{partition}:execute-api:{region}:{account}:"
                f"<{api}>/{STAGE}/{method}/@connections/*]": (
                    "Connection ids are not known before a client connects."
                )
                for method in ("POST", "GET", "DELETE")
            },
        )

    def _event(self, name: str, function: lambda_.IFunction) -> apigatewayv2.CfnIntegration:
        """Return an integration that does not wait for its function."""
        return apigatewayv2.CfnIntegration(
            self,
            name,
            api_id=self.api.ref,
            integration_type="AWS",
            integration_method="POST",
            integration_uri=_uri(function),
            request_parameters={
                "integration.request.header.X-Amz-Invocation-Type": "'Event'",
            },
            template_selection_expression="\\$default",
            request_templates={"$default": TEMPLATE},
        )

    def _arn(self, end: str) -> str:
        return Stack.of(self).format_arn(
            service="execute-api", resource=self.api.ref, resource_name=f"{STAGE}/{end}"
        )

    def _add_stage(self, routes: Sequence[apigatewayv2.CfnRoute]) -> None:
        settings = self._settings
        log_group = logs.LogGroup(
            self,
            "Log",
            retention=RETENTION[settings.log_retention_days],
            removal_policy=RemovalPolicy.RETAIN if settings.retain else RemovalPolicy.DESTROY,
        )
        stage = apigatewayv2.CfnStage(
            self,
            "Stage",
            api_id=self.api.ref,
            stage_name=STAGE,
            auto_deploy=True,
            # CloudFormation's own names: CDK passes the values of this map on as they are.
            route_settings={
                key: {"ThrottlingRateLimit": rate, "ThrottlingBurstLimit": burst}
                for key, rate, burst in (
                    ("$connect", _CONNECTS, 2 * _CONNECTS),
                    ("$default", _MESSAGES, _MESSAGES),
                    (CANCEL, _MESSAGES, _MESSAGES),
                )
            },
            access_log_settings=apigatewayv2.CfnStage.AccessLogSettingsProperty(
                destination_arn=log_group.log_group_arn, format=json.dumps(_LOGGED)
            ),
        )
        for route in routes:  # API Gateway refuses settings of a route that does not exist
            stage.add_resource_dependency(route)
        # API Gateway writes logs by one role of the whole account in a region. It outlives the
        # stack, because others may use it then.
        role = iam.Role(
            self,
            "LogRole",
            description="Lets API Gateway write access logs",
            assumed_by=iam.ServicePrincipal(API_GATEWAY),
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name(
                    "service-role/AmazonAPIGatewayPushToCloudWatchLogs"
                )
            ],
        )
        role.apply_removal_policy(RemovalPolicy.RETAIN)
        accept(
            role,
            {
                "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AmazonAPIGatewayPushToCloudWatchLogs]": (
                    "AWS keeps the list of what API Gateway needs to write logs."
                )
            },
        )
        account = apigateway.CfnAccount(self, "Account", cloud_watch_role_arn=role.role_arn)
        account.apply_removal_policy(RemovalPolicy.RETAIN)
        stage.add_resource_dependency(account)


def _uri(function: lambda_.IFunction) -> str:
    """Return the address at which API Gateway invokes a function."""
    return (
        f"arn:{Aws.PARTITION}:apigateway:{Aws.REGION}:lambda:path/2015-03-31/functions/"
        f"{function.function_arn}/invocations"
    )
