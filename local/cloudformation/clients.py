"""boto3 clients of the control plane's own API, for resources that are made of API calls.

Going through the API lets botocore check what CloudFormation would check: names, types and required members.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, ParamValidationError

from local.cloudformation.resource import DeployError

INTERNAL_HEADER = "x-local-internal"

_address: list[str] = []
_headers: dict[str, str] = {INTERNAL_HEADER: "1"}


def configure(endpoint_url: str, headers: Mapping[str, str]) -> None:
    """Say where the API is, and the headers that it asks for; once, at start."""
    _address[:] = [endpoint_url]
    _headers.update(headers)


@lru_cache
def client(service: str, region: str = "us-east-1") -> Any:
    """A client, cached. Its calls do not wait for the data planes: the stack's operation does, at its end."""
    made = boto3.client(
        service,
        region_name=region,
        endpoint_url=_address[0],
        aws_access_key_id="cloudformation",
        aws_secret_access_key="cloudformation",  # noqa: S106 - moto asks for none
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    made.meta.events.register("before-sign", _mark)
    return made


def _mark(request: Any, **_: Any) -> None:
    for name, value in _headers.items():
        request.headers[name] = value


def call(service: str, region: str, operation: str, **parameters: Any) -> Any:
    """Make a call, leaving out members that the operation does not have.

    Raises DeployError with AWS's message, or with what botocore says of the parameters.
    """
    made = client(service, region)
    method = getattr(made, operation)
    members = made.meta.service_model.operation_model(made.meta.method_to_api_mapping[operation]).input_shape.members
    try:
        return method(**{key: value for key, value in parameters.items() if key in members and value is not None})
    except ClientError as error:
        raise DeployError(error.response["Error"]["Message"] or error.response["Error"]["Code"]) from error
    except ParamValidationError as error:
        raise DeployError(" ".join(str(error).split())) from error


def call_quietly(service: str, region: str, operation: str, **parameters: Any) -> None:
    """Make a call that deletes something; one that is gone already is no error."""
    try:
        call(service, region, operation, **parameters)
    except DeployError as error:
        cause = error.__cause__
        code = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else ""
        if not any(word in code for word in ("NotFound", "NoSuch", "ResourceNotFound")) and code != "ValidationError":
            raise
