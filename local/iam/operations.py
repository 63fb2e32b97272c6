"""Reads a signed request: its access key, service, operation and the operation's members. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from local.iam.signature import Signature

_CBOR = re.compile(r"/service/[^/]+/operation/(\w+)")

# IAM and signatures have different names for these services.
_PREFIX = {"monitoring": "cloudwatch"}


@dataclass(frozen=True)
class Scope:
    """The scope of a signature. `service` is IAM's prefix."""

    key: str
    region: str
    service: str


@dataclass(frozen=True)
class Call:
    """One request. Header names are in lower case; `path` is as it was sent."""

    scope: Scope
    account: str
    method: str
    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    def arn(self, resource: str) -> str:
        """Return an ARN of the service in the caller's region and account."""
        return f"arn:aws:{self.scope.service}:{self.scope.region}:{self.account}:{resource}"


def scope(signature: Signature) -> Scope:
    """Return the scope of a signature, with IAM's name of the service."""
    return Scope(signature.key, signature.region, _PREFIX.get(signature.service, signature.service))


def needs_body(service: str, method: str, query: Mapping[str, str]) -> bool:
    """Return whether the operation and its members can only be read from the body.

    Bodies of S3 may be large. Only DeleteObjects needs its body, which has the keys.
    """
    return (
        "delete" in query and method == "POST"
        if service == "s3"
        else service not in {"bedrock", "lambda", "sagemaker", "xray"}
    )


def operation(call: Call) -> tuple[str, dict[str, Any]] | None:
    """Return an operation's name and members; None for a protocol that does not name operations.

    Raises ValueError for a body that is not in its declared form.
    """
    if target := call.headers.get("x-amz-target"):
        members = json.loads(call.body or b"{}")
        if not isinstance(members, dict):
            raise ValueError("the body is not a JSON object")
        return target.rpartition(".")[2], members
    if match := _CBOR.fullmatch(call.path):
        return match[1], {}
    if call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = dict(parse_qsl(call.body.decode(), keep_blank_values=True))
    else:
        form = dict(call.query)
    return (form.pop("Action"), form) if "Action" in form else None


def segments(path: str) -> list[str]:
    """Return the decoded parts of a path."""
    return [unquote(part) for part in path.strip("/").split("/")]
