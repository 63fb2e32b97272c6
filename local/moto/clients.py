"""boto3 clients of the control plane's own API, for its own use."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import boto3
from botocore.config import Config

INTERNAL_HEADER = "x-local-internal"

_address: list[str] = []
_headers: dict[str, str] = {INTERNAL_HEADER: "1"}


def configure(endpoint_url: str, headers: Mapping[str, str]) -> None:
    """Set the address of the API and the headers that it requires. Call it once, at the start."""
    _address[:] = [endpoint_url]
    _headers.update(headers)


@lru_cache
def client(service: str, region: str = "us-east-1") -> Any:
    """Return a cached client.

    Its calls do not wait for the data planes. The operation on a stack waits for them at its end.
    """
    new = boto3.client(
        service,
        region_name=region,
        endpoint_url=_address[0],
        aws_access_key_id="cloudformation",
        aws_secret_access_key="cloudformation",  # noqa: S106 - moto asks for none
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )
    new.meta.events.register("before-sign", _mark)
    return new


def _mark(request: Any, **_: Any) -> None:
    for name, value in _headers.items():
        request.headers[name] = value
