"""AWS::Lambda::*: functions, URLs, permissions, versions, aliases and EventInvokeConfig."""

import contextlib
import io
import zipfile
from typing import Any

from local.cloudformation import codedeploy
from local.cloudformation.calls import call, call_quietly
from local.cloudformation.resource import DeployError, Properties, Resource


def _code(code: Properties) -> Properties:
    if "ZipFile" not in code:
        return code
    # In CloudFormation, ZipFile is the text of one file; in the API, the bytes of an archive.
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("index.py", code["ZipFile"])
    return {"ZipFile": archive.getvalue()}


class Function(Resource):
    """A function.

    It replaces moto's class, which forgets layers, tags and architectures, and on an update also
    the concurrency.
    """

    type = "AWS::Lambda::Function"
    name_property = "FunctionName"
    replaced_by = frozenset({"PackageType"})

    def _call(self, operation: str, **parameters: Any) -> Any:
        return call("lambda", self.context.region, operation, FunctionName=self.name, **parameters)

    def create(self) -> None:
        """Create the function and reserve its concurrency."""
        properties = {key: value for key, value in self.properties.items() if key != "FunctionName"}
        tags = {tag["Key"]: tag["Value"] for tag in properties.pop("Tags", [])}
        self._call(
            "create_function", **{**properties, "Code": _code(properties["Code"]), "Tags": tags}
        )
        self._reserve(self.properties.get("ReservedConcurrentExecutions"))

    def update(self, properties: Properties) -> None:
        """Change configuration, code and concurrency."""
        defaults: Properties = {
            "Environment": {"Variables": {}},
            "Timeout": 3,
            "MemorySize": 128,
            "Layers": [],
        }
        settings = {
            key: value
            for key, value in properties.items()
            if key not in {"FunctionName", "Code", "Tags"}
        }
        self._call("update_function_configuration", **{**defaults, **settings})
        if properties["Code"] != self.properties["Code"]:
            self._call("update_function_code", **_code(properties["Code"]))
        self._reserve(properties.get("ReservedConcurrentExecutions"))

    def _reserve(self, count: int | None) -> None:
        if count is None:
            self._call("delete_function_concurrency")
        else:
            self._call("put_function_concurrency", ReservedConcurrentExecutions=int(count))

    def delete(self) -> None:
        """Delete the function with all its versions."""
        call_quietly("lambda", self.context.region, "delete_function", FunctionName=self.name)

    def attribute(self, name: str) -> Any:
        """Return Arn."""
        if name == "Arn":
            return (
                f"arn:aws:lambda:{self.context.region}:{self.context.account}:function:{self.name}"
            )
        return super().attribute(name)


class Url(Resource):
    """A function URL. Ref is the function's ARN."""

    type = "AWS::Lambda::Url"
    replaced_by = frozenset({"TargetFunctionArn", "Qualifier"})

    def _call(self, operation: str, properties: Properties) -> Any:
        return call(
            "lambda",
            self.context.region,
            operation,
            **{**properties, "FunctionName": properties["TargetFunctionArn"]},
        )

    def _owner(self) -> Any:
        """Return moto's alias or function that the URL belongs to.

        moto's calls know no URLs of aliases, so such a URL is an attribute of moto's alias.
        """
        from moto.awslambda.models import lambda_backends

        backend = lambda_backends[self.context.account][self.context.region]
        target, qualifier = self.properties["TargetFunctionArn"], self.properties.get("Qualifier")
        function = backend.get_function(target)
        return backend.get_alias(qualifier, function.function_name) if qualifier else function

    def create(self) -> None:
        """Add the URL to the function or the alias."""
        target = self.properties["TargetFunctionArn"]
        if self.properties.get("Qualifier"):
            from moto.awslambda.models import FunctionUrlConfig, lambda_backends

            backend = lambda_backends[self.context.account][self.context.region]
            config = FunctionUrlConfig(backend.get_function(target), dict(self.properties))
            self._owner().url_config = config
            url = config.url
        else:
            url = self._call("create_function_url_config", self.properties)["FunctionUrl"]
        # Function URLs of AWS end in a slash, moto's do not.
        self.url = url.rstrip("/") + "/"
        self.physical_id = target

    def update(self, properties: Properties) -> None:
        """Change authentication or mode.

        moto's update forgets the mode, so this changes the URL's settings in moto directly.
        """
        self._owner().url_config.config.update(properties)

    def delete(self) -> None:
        """Remove the URL."""
        target = self.properties["TargetFunctionArn"]
        if self.properties.get("Qualifier"):
            with contextlib.suppress(Exception):  # the alias is gone already
                self._owner().url_config = None
            return
        call_quietly(
            "lambda", self.context.region, "delete_function_url_config", FunctionName=target
        )

    def attribute(self, name: str) -> Any:
        """Return FunctionUrl or FunctionArn."""
        if name == "FunctionUrl":
            return self.url
        return self.physical_id if name == "FunctionArn" else super().attribute(name)


class Permission(Resource):
    """A statement of a function's policy. Ref is its id."""

    type = "AWS::Lambda::Permission"
    replaced_by = frozenset(
        {
            "Action",
            "FunctionName",
            "Principal",
            "SourceArn",
            "FunctionUrlAuthType",
            "InvokedViaFunctionUrl",
        }
    )

    def create(self) -> None:
        """Add the statement."""
        call(
            "lambda",
            self.context.region,
            "add_permission",
            **{**self.properties, **self._target(), "StatementId": self.name},
        )

    def delete(self) -> None:
        """Remove the statement."""
        call_quietly(
            "lambda",
            self.context.region,
            "remove_permission",
            **self._target(),
            StatementId=self.name,
        )

    def _target(self) -> Properties:
        """Return the function, and the version or alias if the ARN has one."""
        parts = self.properties["FunctionName"].split(":")
        if len(parts) == len(
            ["arn", "aws", "lambda", "region", "account", "function", "name", "alias"]
        ):
            return {"FunctionName": ":".join(parts[:-1]), "Qualifier": parts[-1]}
        return {"FunctionName": self.properties["FunctionName"]}


class Version(Resource):
    """A published version of a function. Ref is its ARN."""

    type = "AWS::Lambda::Version"
    replaced_by = frozenset({"FunctionName"})

    def create(self) -> None:
        """Publish the version."""
        response = call("lambda", self.context.region, "publish_version", **self.properties)
        self.number, self.physical_id = response["Version"], f"{response['FunctionArn']}"
        if not self.physical_id.endswith(f":{self.number}"):
            self.physical_id += f":{self.number}"

    def delete(self) -> None:
        """Delete the version. The function itself stays."""
        name = self.properties["FunctionName"]
        call_quietly(
            "lambda",
            self.context.region,
            "delete_function",
            FunctionName=name,
            Qualifier=self.number,
        )

    def attribute(self, name: str) -> Any:
        """Return Version or FunctionArn."""
        values = {"Version": self.number, "FunctionArn": self.physical_id}
        return values[name] if name in values else super().attribute(name)


class Alias(Resource):
    """A name for a version. Ref is its ARN."""

    type = "AWS::Lambda::Alias"
    replaced_by = frozenset({"FunctionName", "Name"})

    def create(self) -> None:
        """Create the alias."""
        self.physical_id = call("lambda", self.context.region, "create_alias", **self.properties)[
            "AliasArn"
        ]

    def update(self, properties: Properties) -> None:
        """Point the alias to another version: at once, or as its update policy says.

        Raises DeployError if an alarm of the policy's deployment group rises.
        """
        old, new = self.properties["FunctionVersion"], properties["FunctionVersion"]
        policy = self.update_policy.get("CodeDeployLambdaAliasUpdate")

        def route(version: str, further: dict[str, float]) -> None:
            weights = {"AdditionalVersionWeights": further}
            moved = {**properties, "FunctionVersion": version, "RoutingConfig": weights}
            call("lambda", self.context.region, "update_alias", **moved)

        if policy is not None and old != new:
            codedeploy.shift(policy, self.context.region, route, old=old, new=new)
        else:
            call(
                "lambda",
                self.context.region,
                "update_alias",
                **{"RoutingConfig": {"AdditionalVersionWeights": {}}, **properties},
            )

    def delete(self) -> None:
        """Delete the alias."""
        keys = {key: self.properties[key] for key in ("FunctionName", "Name")}
        call_quietly("lambda", self.context.region, "delete_alias", **keys)

    def attribute(self, name: str) -> Any:
        """Return AliasArn."""
        return self.physical_id if name == "AliasArn" else super().attribute(name)


class EventInvokeConfig(Resource):
    """Asynchronous invocations of a function, a version or an alias: retries, age, destination.

    The only destination is another function that is told of failures. moto's calls know no
    qualifier, so the settings are entries of moto's function.
    """

    type = "AWS::Lambda::EventInvokeConfig"
    replaced_by = frozenset({"FunctionName", "Qualifier"})

    def _function(self) -> Any:
        from moto.awslambda.models import lambda_backends

        backend = lambda_backends[self.context.account][self.context.region]
        return backend.get_function(self.properties["FunctionName"])

    def create(self) -> None:
        """Set retries, age and destination."""
        self._put(self.properties)

    def update(self, properties: Properties) -> None:
        """Replace them."""
        self._put(properties)

    def delete(self) -> None:
        """Remove them."""
        with contextlib.suppress(Exception):  # the function is gone already
            function = self._function()
            function.event_invoke_config = self._others(function)

    def _put(self, properties: Properties) -> None:
        from moto.awslambda.models import EventInvokeConfig as Settings

        function = self._function()
        own = {name: value for name, value in properties.items() if name != "FunctionName"}
        for name in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds"):
            if name in own:
                own[name] = int(own[name])
        _check_destinations(own.get("DestinationConfig") or {})
        settings = Settings(function.function_arn, function.last_modified, own)
        function.event_invoke_config = [*self._others(function), settings]

    def _others(self, function: Any) -> list[Any]:
        """Return the settings of other versions and aliases."""
        own = self.properties["Qualifier"]
        return [
            settings
            for settings in function.event_invoke_config
            if settings.config.get("Qualifier", "$LATEST") != own
        ]


def _check_destinations(destinations: Properties) -> None:
    """Raise DeployError for a destination to which the local cloud sends nothing."""
    to = destinations.get("OnFailure", {}).get("Destination", "")
    if destinations.get("OnSuccess") or (to and ":lambda:" not in to):
        raise DeployError(
            "the local cloud sends only failures of asynchronous invocations, and only to functions"
        )


RESOURCES: list[type[Resource]] = [
    Function,
    Url,
    Permission,
    Version,
    Alias,
    EventInvokeConfig,
    *codedeploy.RESOURCES,
]
