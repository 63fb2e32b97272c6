"""A deployed WebSocket API: its stages, routes and integrations, from CloudFormation's form. Pure.

What the local cloud does not emulate fails the deployment with the reason.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from local.apigateway import templates

_LAMBDA = re.compile(r"arn:aws:apigateway:[^:]+:lambda:path/2015-03-31/functions/(.+)/invocations")
_TYPE = "integration.request.header.X-Amz-Invocation-Type"
_EVENT = {"'Event'": True, "'RequestResponse'": False}
ROUTE_SETTINGS = frozenset(
    {
        "DataTraceEnabled",
        "DetailedMetricsEnabled",
        "LoggingLevel",
        "ThrottlingBurstLimit",
        "ThrottlingRateLimit",
    }
)
"""The members of a route's settings. CloudFormation has no schema of these."""
_SELECTION = re.compile(r"\$request\.body\.([A-Za-z0-9_.]+)")


class ConfigError(Exception):
    """The local cloud cannot run the API as it is described."""


@dataclass(frozen=True)
class Integration:
    """A Lambda integration.

    `target` is the function's ARN. `is_event` makes the invocation asynchronous. `template` None
    passes the whole event on, as AWS_PROXY does.
    """

    target: str
    is_event: bool
    template: str | None
    timeout_s: float


@dataclass(frozen=True)
class Stage:
    """A stage: its routes by key, rates by route key (`""` is the default), and its access log."""

    name: str
    routes: dict[str, Integration]
    rates: dict[str, tuple[float, float]]
    log_group: str | None = None
    log_format: str = ""


@dataclass(frozen=True)
class Api:
    """A WebSocket API. `selection` is the path in a message's JSON that names its route."""

    id: str
    account: str
    region: str
    selection: tuple[str, ...]
    stages: dict[str, Stage]

    def source(self, stage: str, route: str) -> str:
        """Return the ARN that Lambda's policies know as the source of an invocation."""
        return f"arn:aws:execute-api:{self.region}:{self.account}:{self.id}/{stage}/{route}"


def integration(properties: dict[str, Any]) -> Integration:
    """Return an integration from its properties in CloudFormation.

    Raises ConfigError.
    """
    kind = properties["IntegrationType"]
    match = _LAMBDA.fullmatch(properties.get("IntegrationUri", ""))
    if kind not in {"AWS", "AWS_PROXY"} or match is None:
        raise ConfigError(
            f"the local cloud knows integrations of Lambda only, not {kind} of "
            f"{properties.get('IntegrationUri')}"
        )
    if properties.get("CredentialsArn"):
        raise ConfigError("the local cloud knows no credentials of integrations")
    if properties.get("IntegrationMethod") not in {None, "POST"}:
        raise ConfigError("Lambda is invoked by POST")
    parameters = properties.get("RequestParameters", {})
    if parameters.keys() - {_TYPE} or parameters.get(_TYPE, "'Event'") not in _EVENT:
        raise ConfigError(f"of request parameters the local cloud knows {_TYPE} only")
    template = None
    if kind == "AWS":
        if properties.get("TemplateSelectionExpression") != "\\$default":
            raise ConfigError("the local cloud knows the template selection \\$default only")
        template = properties.get("RequestTemplates", {}).get("$default")
        if template is None:
            raise ConfigError("the integration has no request template $default")
        try:
            templates.check(template)
        except templates.UnknownTemplate as error:
            raise ConfigError(str(error)) from None
    return Integration(
        match[1],
        _EVENT[parameters.get(_TYPE, "'RequestResponse'")],
        template,
        properties.get("TimeoutInMillis", 29_000) / 1000,
    )


def selection(expression: str) -> tuple[str, ...]:
    """Return the path that a route selection expression names.

    Raises ConfigError.
    """
    match = _SELECTION.fullmatch(expression)
    if match is None:
        raise ConfigError(f"the local cloud cannot select routes by {expression}")
    return tuple(match[1].split("."))


def parse(content: dict[str, Any]) -> Api:
    """Return the API from the exchange's form: what `local.cloudformation.gateways` keeps.

    Raises ConfigError.
    """
    return Api(
        id=content["id"],
        account=content["account"],
        region=content["region"],
        selection=selection(content["properties"]["RouteSelectionExpression"]),
        stages={name: _stage(content, stage) for name, stage in content["stages"].items()},
    )


def _stage(content: dict[str, Any], properties: dict[str, Any]) -> Stage:
    deployed = content
    if not properties.get("AutoDeploy"):
        # A stage without a deployment has no routes.
        none: dict[str, Any] = {"routes": {}, "integrations": {}}
        deployed = content["deployments"].get(properties.get("DeploymentId"), none)
    routes = {}
    for route in deployed["routes"].values():
        if route.get("AuthorizationType", "NONE") != "NONE" or route.get("ApiKeyRequired"):
            raise ConfigError("the local cloud knows no authorizers and API keys of routes")
        name = route.get("Target", "").removeprefix("integrations/")
        if name in deployed["integrations"]:
            routes[route["RouteKey"]] = integration(deployed["integrations"][name])
    settings = {
        "": properties.get("DefaultRouteSettings", {}),
        **properties.get("RouteSettings", {}),
    }
    rates = {
        key: (float(one["ThrottlingRateLimit"]), float(one["ThrottlingBurstLimit"]))
        for key, one in settings.items()
        if "ThrottlingRateLimit" in one and "ThrottlingBurstLimit" in one
    }
    access = properties.get("AccessLogSettings", {})
    group = access.get("DestinationArn", "").partition(":log-group:")[2].partition(":")[0]
    return Stage(properties["StageName"], routes, rates, group or None, access.get("Format", ""))


def route_key(api: Api, stage: Stage, text: str) -> str | None:
    """Return the key of a message's route, or None if neither it nor `$default` exists."""
    found: Any = None
    try:
        found = json.loads(text)
        for name in api.selection:
            found = found.get(name)
    except (ValueError, AttributeError, RecursionError):
        found = None
    if isinstance(found, str) and not found.startswith("$") and found in stage.routes:
        return found
    return "$default" if "$default" in stage.routes else None
