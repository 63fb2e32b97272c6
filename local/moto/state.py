"""The desired state, read from moto's backends: everything that the data planes run.

The shapes are those of `local.state`; values are JSON.
"""

from collections.abc import Iterator
from typing import Any

from moto.awslambda.models import lambda_backends
from moto.events.models import events_backends
from moto.sagemaker.models import sagemaker_backends
from moto.scheduler.models import scheduler_backends

from local.moto import access, service_quotas
from local.moto.exchange import EXCHANGE


def snapshot() -> dict[str, Any]:
    """Return everything that the data planes run, with the version of this state."""
    version = EXCHANGE.version
    return {
        "version": version,
        "quotas": {"lambda_account_concurrency": service_quotas.concurrency()},
        "functions": [
            _function(account, region, version, latest)
            for account, region, backend in _functions()
            for latest in list(backend.list_functions())
            for version in (latest, *_versions(backend, latest))
        ],
        "aliases": [
            _alias(alias, latest)
            for _, _, backend in _functions()
            for latest in list(backend.list_functions())
            for alias in list(backend.list_aliases(latest.function_name))
        ],
        "endpoints": [
            _endpoint(account, region, backend, endpoint)
            for account, regions in list(sagemaker_backends.items())
            for region, backend in list(regions.items())
            for endpoint in list(backend.endpoints.values())
        ]
        + [_component(name, component) for name, component in list(EXCHANGE.components.items())],
        "distributions": [
            {"id": key, "config": config} for key, config in list(EXCHANGE.distributions.items())
        ],
        "gateways": list(EXCHANGE.gateways.values()),
        "policies": dict(EXCHANGE.policies),
        "roles": access.roles(),
        "bucket_policies": access.bucket_policies(),
        "schedules": [*_schedules(), *_rules()],
        "custom_requests": [
            {"id": key, **value} for key, value in list(EXCHANGE.custom_requests.items())
        ],
        "unhandled": [
            {"stack": stack, "logical_id": logical_id, "type": kind, "effect": effect}
            for (stack, logical_id), (kind, effect) in list(EXCHANGE.unhandled.items())
        ],
    }


def _functions() -> Iterator[tuple[str, str, Any]]:
    for account, regions in list(lambda_backends.items()):
        for region, backend in list(regions.items()):
            yield account, region, backend


def _versions(backend: Any, latest: Any) -> list[Any]:
    """Return the published versions of a function."""
    return list(backend.list_versions_by_function(latest.function_name))[1:]


def _alias(alias: Any, latest: Any) -> dict[str, Any]:
    further = (alias.routing_config or {}).get("AdditionalVersionWeights") or {}
    url = getattr(alias, "url_config", None)
    return {
        "name": alias.name,
        "function": latest.function_name,
        "arn": alias.arn,
        "weights": {alias.function_version: 1 - sum(further.values()), **further},
        "url": url.url if url else None,
        "invoke_mode": (url.config.get("InvokeMode") or "BUFFERED") if url else None,
        "auth_type": url.config.get("AuthType") if url else None,
        # moto keeps the statements of all versions and aliases with the function.
        "policy": access.function_policy(latest),
        **_events(latest, alias.name),
    }


def _function(account: str, region: str, function: Any, latest: Any) -> dict[str, Any]:
    published = function is not latest
    url = None if published else function.url_config
    logging = getattr(function, "logging_config", None) or {}
    reserved = latest.reserved_concurrency
    return {
        "account": account,
        "region": region,
        "name": function.function_name,
        "arn": function.function_arn,
        "role": function.role,
        "handler": function.handler or "",
        "runtime": function.run_time or "",
        "environment": {
            key: str(value) for key, value in (function.environment_vars or {}).items()
        },
        "timeout": int(function.timeout),
        "memory": int(function.memory_size),
        "reserved_concurrency": None if reserved is None else int(reserved),
        "code_sha256": function.code_sha_256,
        "url": url.url if url else None,
        "invoke_mode": (url.config.get("InvokeMode") or "BUFFERED") if url else None,
        "auth_type": url.config.get("AuthType") if url else None,
        "policy": access.function_policy(function),
        "log_group": logging.get("LogGroup"),
        "log_format": logging.get("LogFormat", "Text"),
        "concurrency": access.concurrency(function),
        "tracing": (function.tracing_config or {}).get("Mode", "PassThrough"),
        "version": str(function.version) if published else "$LATEST",
        **_events(latest, str(function.version) if published else "$LATEST"),
    }


def _events(latest: Any, qualifier: str) -> dict[str, Any]:
    """Return the settings of asynchronous invocations of a version or an alias.

    There are none for a version or an alias that has no settings of its own.
    """
    for settings in latest.event_invoke_config:
        if settings.config.get("Qualifier", "$LATEST") == qualifier:
            destinations = settings.config.get("DestinationConfig") or {}
            found = {
                "event_retries": settings.config.get("MaximumRetryAttempts"),
                "event_age": settings.config.get("MaximumEventAgeInSeconds"),
                "event_failure": destinations.get("OnFailure", {}).get("Destination"),
            }
            return {name: value for name, value in found.items() if value is not None}
    return {}


def _schedules() -> Iterator[dict[str, Any]]:
    for regions in list(scheduler_backends.values()):
        for backend in list(regions.values()):
            for group in list(backend.schedule_groups.values()):
                for schedule in list(group.schedules.values()):
                    yield {
                        "arn": schedule.arn,
                        "expression": schedule.schedule_expression,
                        "enabled": schedule.state != "DISABLED",
                        "target": schedule.target["Arn"],
                        "input": schedule.target.get("Input"),
                        "role": schedule.target.get("RoleArn") or "",
                    }


def _rules() -> Iterator[dict[str, Any]]:
    for regions in list(events_backends.values()):
        for backend in list(regions.values()):
            for bus in list(backend.event_buses.values()):
                for rule in list(bus.rules.values()):
                    for target in rule.targets if rule.scheduled_expression else ():
                        yield {
                            "arn": rule.arn,
                            "expression": rule.scheduled_expression,
                            "enabled": rule.state != "DISABLED",
                            "target": target["Arn"],
                            "input": target.get("Input"),
                        }


def _endpoint(account: str, region: str, backend: Any, endpoint: Any) -> dict[str, Any]:
    config = backend.endpoint_configs.get(endpoint.endpoint_config_name)
    variants = config.production_variants if config else []
    return {
        "account": account,
        "region": region,
        "name": endpoint.endpoint_name,
        "config": endpoint.endpoint_config_name,
        "variants": [
            _variant(backend, variant) for variant in variants if variant.get("ModelName")
        ],
        "hosts_components": any(not variant.get("ModelName") for variant in variants),
    }


def _component(name: str, component: dict[str, Any]) -> dict[str, Any]:
    """Return a component as an endpoint. Its copies are the instances of its one variant."""
    backend = sagemaker_backends[component["account"]][component["region"]]
    specification = component["specification"]
    members = {
        "VariantName": component["variant"],
        "ModelName": specification.get("ModelName"),
        "InitialInstanceCount": component["copies"],
        "ContainerStartupHealthCheckTimeoutInSeconds": specification.get(
            "StartupParameters", {}
        ).get("ContainerStartupHealthCheckTimeoutInSeconds", 0),
    }
    variant = _variant(backend, members)
    if container := specification.get("Container"):
        variant["image"] = container.get("Image", variant["image"])
        variant["environment"] |= {
            key: str(value) for key, value in container.get("Environment", {}).items()
        }
        variant["model_data"] = container.get("ArtifactUrl", variant["model_data"])
    endpoint = backend.endpoints.get(component["endpoint"])
    config = backend.endpoint_configs.get(endpoint.endpoint_config_name) if endpoint else None
    # Without a model, the role is that of the endpoint's configuration.
    if variant["role"] in {"", "arn:test"}:  # moto's value for none
        variant["role"] = getattr(config, "execution_role_arn", None) or ""
    return {
        "account": component["account"],
        "region": component["region"],
        "name": component["endpoint"],
        "config": f"{name}-{component['version']}",
        "variants": [variant],
        "component": name,
    }


def _variant(backend: Any, variant: dict[str, Any]) -> dict[str, Any]:
    models = {model.model_name: model for model in backend._models.values()}  # noqa: SLF001 - moto has no other way
    model = models.get(variant.get("ModelName"))
    container = (model.primary_container or (model.containers or [{}])[0]) if model else {}
    source = (container.get("ModelDataSource") or {}).get("S3DataSource", {})
    return {
        "name": variant["VariantName"],
        "image": container.get("Image", ""),
        "environment": {
            key: str(value) for key, value in (container.get("Environment") or {}).items()
        },
        "model_data": source.get("S3Uri") or container.get("ModelDataUrl"),
        "instances": int(variant.get("InitialInstanceCount", 1)),
        "startup_timeout": int(variant.get("ContainerStartupHealthCheckTimeoutInSeconds", 0))
        or None,
        "role": model.execution_role_arn if model else "",
    }
