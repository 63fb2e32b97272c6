"""Calls of the control plane's own API, for resources that an API call creates.

In such a call, botocore checks what CloudFormation would check: names, types and required members.
"""

from typing import Any

from botocore.exceptions import ClientError, ParamValidationError

from local.cloudformation.resource import DeployError
from local.moto.clients import client


def call(service: str, region: str, operation: str, **parameters: Any) -> Any:
    """Make a call; return its response.

    Parameters that are None, or that the operation does not have, are left out.

    Raises DeployError with the service's message, or with botocore's message about the parameters.
    """
    api = client(service, region)
    method = getattr(api, operation)
    members = api.meta.service_model.operation_model(
        api.meta.method_to_api_mapping[operation]
    ).input_shape.members
    try:
        return method(
            **{
                key: value
                for key, value in parameters.items()
                if key in members and value is not None
            }
        )
    except ClientError as error:
        raise DeployError(
            error.response["Error"]["Message"] or error.response["Error"]["Code"]
        ) from error
    except ParamValidationError as error:
        raise DeployError(" ".join(str(error).split())) from error


def call_quietly(service: str, region: str, operation: str, **parameters: Any) -> None:
    """Make a call that deletes something. A resource that is already gone is no error."""
    try:
        call(service, region, operation, **parameters)
    except DeployError as error:
        cause = error.__cause__
        code = cause.response["Error"]["Code"] if isinstance(cause, ClientError) else ""
        if (
            not any(word in code for word in ("NotFound", "NoSuch", "ResourceNotFound"))
            and code != "ValidationError"
        ):
            raise
