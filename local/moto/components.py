"""SageMaker's inference components, which moto lacks.

The exchange stores them, and the data plane runs them. Operations: Create, Describe, List, Delete
and UpdateInferenceComponentRuntimeConfig. Each copy of a component is a container on its endpoint;
with CopyCount 0 there is none. `version` changes with every change that needs new containers.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.sagemaker.models import sagemaker_backends

from local.moto.exchange import EXCHANGE

Members = dict[str, Any]
_TARGET = re.compile(r"SageMaker\.(\w*InferenceComponents?\w*)")
_SCOPE = re.compile(r"Credential=[^/]*/[^/]*/([^/]*)/sagemaker/")


class Refused(Exception):
    """The call is not possible. The message is AWS's."""


def create(members: Members, region: str) -> str:
    """Create a component; return its ARN.

    Raises Refused.
    """
    name, endpoint = members["InferenceComponentName"], members["EndpointName"]
    backend = sagemaker_backends[DEFAULT_ACCOUNT_ID][region]
    if endpoint not in backend.endpoints:
        raise Refused(f'Could not find endpoint "{endpoint}".')
    if name in EXCHANGE.components:
        raise Refused(f'Cannot create already existing inference component "{arn(name, region)}".')
    specification = members["Specification"]
    model = specification.get("ModelName")
    if model and model not in {item.model_name for item in backend._models.values()}:  # noqa: SLF001 - moto's own way
        raise Refused(f'Could not find model "{model}".')
    EXCHANGE.components[name] = {
        "account": DEFAULT_ACCOUNT_ID,
        "region": region,
        "endpoint": endpoint,
        "variant": members["VariantName"],
        "specification": specification,
        "copies": int(members.get("RuntimeConfig", {}).get("CopyCount", 1)),
        "version": 1,
    }
    EXCHANGE.changed()
    return arn(name, region)


def change(name: str, *, copies: int | None = None, specification: Members | None = None) -> None:
    """Change the number of copies, or the specification that they run.

    Raises Refused.
    """
    component = _existing(name)
    new = {
        "copies": component["copies"] if copies is None else copies,
        "specification": component["specification"] if specification is None else specification,
    }
    if any(component[key] != item for key, item in new.items()):
        EXCHANGE.components[name] = {**component, **new, "version": component["version"] + 1}
        EXCHANGE.changed()


def delete(name: str) -> None:
    """Stop the component's copies. A missing component is no error."""
    if EXCHANGE.components.pop(name, None) is not None:
        EXCHANGE.changed()
        EXCHANGE.settle()


def arn(name: str, region: str) -> str:
    """Return a component's ARN."""
    return f"arn:aws:sagemaker:{region}:{DEFAULT_ACCOUNT_ID}:inference-component/{name}"


def observed(name: str) -> Members | None:
    """Return the data plane's report on the present version of a component, or None."""
    component = EXCHANGE.components[name]
    report = EXCHANGE.observed["endpoints"].get(f"{component['endpoint']}/{name}")
    return report if report and report["config"] == f"{name}-{component['version']}" else None


def _existing(name: str) -> Members:
    if name not in EXCHANGE.components:
        raise Refused(f'Could not find inference component "{name}".')
    return EXCHANGE.components[name]


def _describe(members: Members, _region: str) -> Members:
    name = members["InferenceComponentName"]
    component, report = _existing(name), observed(name)
    status = report["status"] if report else "Updating"
    return {
        **_summary(name),
        "InferenceComponentStatus": status,
        "FailureReason": (report or {}).get("reason"),
        "Specification": component["specification"],
        "RuntimeConfig": {
            "DesiredCopyCount": component["copies"],
            "CurrentCopyCount": component["copies"] if status == "InService" else 0,
        },
    }


def _summary(name: str) -> Members:
    component = EXCHANGE.components[name]
    place = f"{component['region']}:{component['account']}"
    return {
        "InferenceComponentName": name,
        "InferenceComponentArn": arn(name, component["region"]),
        "EndpointName": component["endpoint"],
        "EndpointArn": f"arn:aws:sagemaker:{place}:endpoint/{component['endpoint'].lower()}",
        "VariantName": component["variant"],
        "CreationTime": 0,
        "LastModifiedTime": 0,
    }


def _list(members: Members, _region: str) -> Members:
    endpoint = members.get("EndpointNameEquals")
    names = [
        name
        for name, component in EXCHANGE.components.items()
        if endpoint in {None, component["endpoint"]}
    ]
    return {"InferenceComponents": [_summary(name) for name in names]}


def _create(members: Members, region: str) -> Members:
    return {"InferenceComponentArn": create(members, region)}


def _update(members: Members, region: str) -> Members:
    name = members["InferenceComponentName"]
    change(name, copies=int(members["DesiredRuntimeConfig"]["CopyCount"]))
    return {"InferenceComponentArn": arn(name, region)}


def _delete(members: Members, _region: str) -> Members:
    _existing(members["InferenceComponentName"])
    delete(members["InferenceComponentName"])
    return {}


_OPERATIONS: dict[str, Callable[[Members, str], Members]] = {
    "CreateInferenceComponent": _create,
    "DescribeInferenceComponent": _describe,
    "ListInferenceComponents": _list,
    "UpdateInferenceComponentRuntimeConfig": _update,
    "DeleteInferenceComponent": _delete,
}


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes] | None:
    """Answer a call of the API; return None for a call of another API."""
    match = _TARGET.fullmatch(environ.get("HTTP_X_AMZ_TARGET", ""))
    operation = _OPERATIONS.get(match[1]) if match else None
    if operation is None:
        return None
    scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", ""))
    members = json.loads(
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)) or b"{}"
    )
    status = "200 OK"
    try:
        value = operation(members, scope[1] if scope else "us-east-1")
    except Refused as error:
        status, value = "400 Bad Request", {"__type": "ValidationException", "message": str(error)}
    body = json.dumps({key: item for key, item in value.items() if item is not None}).encode()
    start_response(
        status, [("Content-Type", "application/x-amz-json-1.1"), ("Content-Length", str(len(body)))]
    )
    return [body]
