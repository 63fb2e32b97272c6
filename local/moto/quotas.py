"""Refuses environments that are too large, as the services do at deployment. moto accepts them.

The patches also keep a function's LoggingConfig and CapacityProviderConfig, which moto forgets.
Sources: the rows `*_environment*` of `local.limits`.
"""

import json
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.sagemaker.exceptions import AWSValidationException
from moto.sagemaker.models import SageMakerModelBackend

from local.limits import value


def install() -> None:
    """Apply the patches. Call it once, in the control plane's process."""
    create_function = LambdaBackend.create_function
    update_function = LambdaBackend.update_function_configuration
    create_model = SageMakerModelBackend.create_model
    describe_function = LambdaFunction.get_configuration

    def create(backend: Any, spec: dict[str, Any]) -> Any:
        _check_function(spec)
        created = create_function(backend, spec)
        function = backend.get_function(spec["FunctionName"])
        function.logging_config, function.capacity = (
            spec.get("LoggingConfig"),
            spec.get("CapacityProviderConfig"),
        )
        return created

    def update(backend: Any, function_name: str, qualifier: str, body: dict[str, Any]) -> Any:
        _check_function(body)
        changed = update_function(backend, function_name, qualifier, body)
        if changed and "LoggingConfig" in body:
            backend.get_function(function_name, qualifier).logging_config = body["LoggingConfig"]
        if changed and "CapacityProviderConfig" in body:
            backend.get_function(function_name, qualifier).capacity = body["CapacityProviderConfig"]
        return changed

    def model(backend: Any, *args: Any, **named: Any) -> Any:
        if named.get("primary_container"):
            _check_container(named["primary_container"], "primaryContainer")
        for number, container in enumerate(named.get("containers") or (), 1):
            _check_container(container, f"containers.{number}.member")
        return create_model(backend, *args, **named)

    def configuration(function: Any, on_create: bool = False) -> dict[str, Any]:
        described: dict[str, Any] = describe_function(function, on_create)
        own = getattr(function, "logging_config", None) or {}
        group = own.get("LogGroup") or f"/aws/lambda/{function.function_name}"
        return {**described, "LoggingConfig": {"LogFormat": "Text", **own, "LogGroup": group}}

    LambdaFunction.get_configuration = configuration
    LambdaBackend.create_function = create
    LambdaBackend.update_function_configuration = update
    SageMakerModelBackend.create_model = model


def _check_function(spec: dict[str, Any]) -> None:
    text = json.dumps(
        (spec.get("Environment") or {}).get("Variables") or {},
        separators=(",", ":"),
        ensure_ascii=False,
    )
    if len(text.encode()) > value("lambda_environment"):
        raise InvalidParameterValueException(
            "Lambda was unable to configure your environment variables because the "
            "environment variables you have "
            f"provided exceeded the 4KB limit. String measured: {text}"
        )


def _check_container(container: dict[str, Any], where: str) -> None:
    variables = container.get("Environment") or {}
    max_key, max_value = value("sagemaker_environment_key"), value("sagemaker_environment_value")
    constraint = None
    if len(variables) > value("sagemaker_environment_entries"):
        constraint = (
            "Member must have length less than or equal to "
            f"{value('sagemaker_environment_entries')}"
        )
    elif any(len(name) > max_key for name in variables):
        constraint = (
            "Map keys must satisfy constraint: [Member must have length less than or equal "
            f"to {max_key}, Member must "
            "have length greater than or equal to 0, Member must satisfy regular expression "
            "pattern: "
            "[a-zA-Z_][a-zA-Z0-9_]*]"
        )
    elif any(len(text) > max_value for text in variables.values()):
        constraint = (
            "Map value must satisfy constraint: [Member must have length less than or equal "
            f"to {max_value}, Member must "
            r"have length greater than or equal to 0, Member must satisfy regular expression "
            r"pattern: [\S\s]*]"
        )
    if constraint:
        rendered = "{" + ", ".join(f"{name}={text}" for name, text in variables.items()) + "}"
        raise AWSValidationException(
            f"1 validation error detected: Value '{rendered}' at '{where}.environment' failed "
            "to satisfy constraint: "
            f"{constraint}"
        )
