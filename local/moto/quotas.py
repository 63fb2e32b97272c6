"""Refuses resources that exceed sizes or the account's quotas, as the services do at deployment.

The patches also keep a function's LoggingConfig and CapacityProviderConfig, which moto forgets.
Sources: the rows `*_environment*`, `lambda_unreserved` and `sagemaker_endpoint_instances` of
`local.limits`.
"""

import json
from typing import Any

from moto.awslambda.exceptions import InvalidParameterValueException
from moto.awslambda.models import LambdaBackend, LambdaFunction
from moto.sagemaker.exceptions import AWSValidationException, SagemakerClientError
from moto.sagemaker.models import SageMakerModelBackend

from local.limits import value
from local.moto import service_quotas


def install() -> None:
    """Apply the patches. Call it once, in the control plane's process."""
    create_function = LambdaBackend.create_function
    update_function = LambdaBackend.update_function_configuration
    create_model = SageMakerModelBackend.create_model
    create_endpoint = SageMakerModelBackend.create_endpoint
    put_concurrency = LambdaBackend.put_function_concurrency
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

    def reserve(backend: Any, function_name: str, reserved: Any) -> str:
        others = sum(
            int(it.reserved_concurrency or 0)
            for it in backend.list_functions()
            if it.function_name != function_name
        )
        minimum = value("lambda_unreserved")
        if service_quotas.concurrency() - others - int(reserved) < minimum:
            raise InvalidParameterValueException(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{minimum}]."
            )
        set_reserved: str = put_concurrency(backend, function_name, reserved)
        return set_reserved

    def endpoint(backend: Any, *args: Any, **named: Any) -> Any:
        _check_instances(backend, named.get("endpoint_config_name") or args[1])
        return create_endpoint(backend, *args, **named)

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
    LambdaBackend.put_function_concurrency = reserve
    SageMakerModelBackend.create_model = model
    SageMakerModelBackend.create_endpoint = endpoint


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


def _check_instances(backend: Any, config_name: str) -> None:
    """Refuse an endpoint with more instances than the account may have of their type."""
    config = backend.endpoint_configs.get(config_name)
    for variant in config.production_variants if config else ():
        kind, wanted = variant.get("InstanceType"), int(variant.get("InitialInstanceCount", 1))
        quota = service_quotas.endpoint_instances(str(kind))
        if quota is not None and wanted > quota:
            raise ResourceLimitExceeded(
                f"The account-level service limit '{kind} for endpoint usage' is {quota} "
                f"Instances, with current utilization of 0 Instances and a request delta of "
                f"{wanted} Instances. Please use AWS Service Quotas to request an increase for "
                "this quota."
            )


class ResourceLimitExceeded(SagemakerClientError):  # type: ignore[misc] # moto is untyped here
    """SageMaker's error for an account without enough instances."""

    code = "ResourceLimitExceeded"


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
