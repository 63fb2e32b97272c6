"""AWS::ApiGatewayV2::*: WebSocket APIs.

They are kept in the exchange, in CloudFormation's form, because moto has no resources of these
types: {"id", "account", "region", "properties", "routes", "integrations", "stages",
"deployments"}. A deployment has the routes and integrations as they were.
"""

import secrets
import string
from copy import deepcopy
from typing import Any, ClassVar

from local.apigateway import config
from local.cloudformation.resource import DeployError, Kept, Properties, Resource
from local.moto.exchange import APPLY_TIMEOUT_S, EXCHANGE

_LETTERS = string.ascii_lowercase + string.digits


def _new_id(size: int = 7) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(size))


class Api(Resource):
    """A WebSocket API, which has a loopback port. Ref is its id."""

    type = "AWS::ApiGatewayV2::Api"
    replaced_by = frozenset({"ProtocolType"})

    def create(self) -> None:
        """Publish the API and wait until the data plane reports its address."""
        self._check(self.properties)
        self.physical_id = _new_id(10)
        EXCHANGE.gateways[self.physical_id] = {
            "id": self.physical_id,
            "account": self.context.account,
            "region": self.context.region,
            "properties": self.properties,
            "routes": {},
            "integrations": {},
            "stages": {},
            "deployments": {},
        }
        EXCHANGE.changed()
        report = EXCHANGE.await_observed(
            "gateways", self.physical_id, lambda _seen: True, APPLY_TIMEOUT_S
        )
        if report is None:
            self.delete()
            raise DeployError(f"the data plane did not start the API within {APPLY_TIMEOUT_S:g} s")
        self.endpoint = report["endpoint"]

    @staticmethod
    def _check(properties: Properties) -> None:
        if properties.get("ProtocolType") != "WEBSOCKET":
            raise DeployError("the local cloud knows APIs with the ProtocolType WEBSOCKET only")
        try:
            config.selection(properties.get("RouteSelectionExpression", ""))
        except config.ConfigError as error:
            raise DeployError(str(error)) from None

    def update(self, properties: Properties) -> None:
        """Change the API. Its id and its address stay."""
        self._check(properties)
        EXCHANGE.gateways[self.physical_id]["properties"] = properties
        EXCHANGE.changed()
        EXCHANGE.settle()

    def delete(self) -> None:
        """Remove the API; the data plane closes its port."""
        EXCHANGE.gateways.pop(self.physical_id, None)
        EXCHANGE.changed()
        EXCHANGE.settle()

    def attribute(self, name: str) -> Any:
        """Return ApiId, ApiEndpoint or ExecuteApiArn."""
        if name == "ApiEndpoint":
            return self.endpoint
        if name == "ExecuteApiArn":
            place = f"{self.context.region}:{self.context.account}"
            return f"arn:aws:execute-api:{place}:{self.physical_id}"
        return self.physical_id if name == "ApiId" else super().attribute(name)


class _Part(Resource):
    """A resource below an API. Ref is its id."""

    replaced_by = frozenset({"ApiId"})
    kind: ClassVar[str]
    id_attribute: ClassVar[str]

    def new_id(self) -> str:
        """Return the id of a new resource."""
        return _new_id()

    def check(self, properties: Properties) -> None:
        """Raise DeployError for properties that the local cloud does not know."""

    def value(self, properties: Properties) -> Any:
        """Return what is kept of the resource."""
        return properties

    def create(self) -> None:
        """Add the resource to its API."""
        self.check(self.properties)
        self.physical_id = self.new_id()
        self._put(self.properties)

    def update(self, properties: Properties) -> None:
        """Change the resource."""
        self.check(properties)
        self._put(properties)

    def _put(self, properties: Properties) -> None:
        api = EXCHANGE.gateways.get(properties["ApiId"])
        if api is None:
            raise DeployError(f"Invalid API identifier specified {properties['ApiId']}")
        api[self.kind][self.physical_id] = self.value(properties)
        EXCHANGE.changed()
        EXCHANGE.settle()

    def delete(self) -> None:
        """Remove the resource."""
        api = EXCHANGE.gateways.get(self.properties["ApiId"])
        if api is not None:
            api[self.kind].pop(self.physical_id, None)
            EXCHANGE.changed()
            EXCHANGE.settle()

    def attribute(self, name: str) -> Any:
        """Return the id."""
        return self.physical_id if name == self.id_attribute else super().attribute(name)


class Route(_Part):
    """A route: a key, and the integration that its messages invoke."""

    type = "AWS::ApiGatewayV2::Route"
    kind, id_attribute = "routes", "RouteId"


class Integration(_Part):
    """What a route invokes."""

    type = "AWS::ApiGatewayV2::Integration"
    kind, id_attribute = "integrations", "IntegrationId"

    def check(self, properties: Properties) -> None:
        """Raise DeployError for an integration that the local cloud does not know."""
        try:
            config.integration(properties)
        except config.ConfigError as error:
            raise DeployError(str(error)) from None


class Stage(_Part):
    """A stage, under whose name clients connect. Ref is the name."""

    type = "AWS::ApiGatewayV2::Stage"
    kind, id_attribute = "stages", "StageName"
    replaced_by = frozenset({"ApiId", "StageName"})

    def check(self, properties: Properties) -> None:
        """Raise DeployError for settings of a route that are malformed, or whose route is not
        there.
        """
        api = EXCHANGE.gateways.get(properties["ApiId"], {"routes": {}})
        keys = {route["RouteKey"] for route in api["routes"].values()}
        for key, settings in properties.get("RouteSettings", {}).items():
            if unknown := settings.keys() - config.ROUTE_SETTINGS:
                raise DeployError(f"Encountered unsupported property {min(unknown)}")
            if key not in keys:
                raise DeployError(
                    f"Unable to find Route by key {key} within the provided RouteSettings"
                )

    def new_id(self) -> str:
        """Return the stage's name."""
        return str(self.properties["StageName"])


class Deployment(_Part):
    """The routes and integrations at one time, for stages that are not deployed by themselves."""

    type = "AWS::ApiGatewayV2::Deployment"
    kind, id_attribute = "deployments", "DeploymentId"

    def value(self, properties: Properties) -> Any:
        """Return a copy of the API's routes and integrations."""
        api = EXCHANGE.gateways[properties["ApiId"]]
        return deepcopy({name: api[name] for name in ("routes", "integrations")})


class Account(Kept):
    """The role with which API Gateway writes logs. The local cloud writes them without it."""

    type = "AWS::ApiGateway::Account"


RESOURCES: list[type[Resource]] = [Api, Route, Integration, Stage, Deployment, Account]
