"""What a signed request asks for: its caller's key, its service, its operation and the operation's members. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote

from local.iam.signature import Signature

_CBOR = re.compile(r"/service/[^/]+/operation/(\w+)")

# These have names of their own for IAM and for signatures.
_PREFIX = {"monitoring": "cloudwatch"}


@dataclass(frozen=True)
class Scope:
    """What a signature says. `service` is IAM's prefix."""

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
        """An ARN of the service in the caller's region and account."""
        return f"arn:aws:{self.scope.service}:{self.scope.region}:{self.account}:{resource}"


def scope(found: Signature) -> Scope:
    """Return what a signature says in IAM's words."""
    return Scope(found.key, found.region, _PREFIX.get(found.service, found.service))


def needs_body(service: str, method: str, query: Mapping[str, str]) -> bool:
    """Whether the body says what is asked for. S3's bodies, which may be large, do only in one operation."""
    return "delete" in query and method == "POST" if service == "s3" else service not in {"lambda", "sagemaker", "xray"}


def operation(call: Call) -> tuple[str, dict[str, Any]] | None:
    """Give an operation's name and members, for the protocols that name them; None for others.

    Raises ValueError for a body that is not what it says it is.
    """
    if target := call.headers.get("x-amz-target"):
        members = json.loads(call.body or b"{}")
        if not isinstance(members, dict):
            raise ValueError("the body is no JSON object")
        return target.rpartition(".")[2], members
    if found := _CBOR.fullmatch(call.path):
        return found[1], {}
    if call.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        form = dict(parse_qsl(call.body.decode(), keep_blank_values=True))
    else:
        form = dict(call.query)
    return (form.pop("Action"), form) if "Action" in form else None


def segments(path: str) -> list[str]:
    """Give the decoded parts of a path."""
    return [unquote(part) for part in path.strip("/").split("/")]
