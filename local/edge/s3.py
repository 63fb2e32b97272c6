"""S3 as an origin: what a distribution may read of a bucket, by the bucket's policy.

A distribution signs its requests if its origin has an origin access control, and is then the service
cloudfront.amazonaws.com on behalf of the distribution's ARN; otherwise it is nobody. Sources: the CloudFront developer
guide, "Restrict access to an Amazon S3 origin"; the S3 API reference, GetObject (403 in place of 404 for whoever may
not list the bucket).
"""

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import aiohttp

from local.cloud import ACCOUNT
from local.edge.behaviours import Origin

_DOMAIN = re.compile(r"(?P<bucket>.+?)\.s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?")
_SERVICE = "cloudfront.amazonaws.com"
# moto takes whoever signs for the owner, and does not check the signature: who may read what is decided here.
SIGNATURE = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=edge/20000101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=none"
}
READING = ("GET", "HEAD", "OPTIONS")
DENIED = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
)


def bucket_of(origin: Origin) -> str | None:
    """The bucket of an S3 origin, None for others."""
    found = _DOMAIN.fullmatch(origin.domain) if origin.kind == "s3" else None
    return found["bucket"] if found else None


async def policy_of(session: aiohttp.ClientSession, s3_url: str, bucket: str) -> dict[str, Any]:
    """A bucket's policy, empty if it has none."""
    async with session.get(f"{s3_url}/{bucket}?policy", headers=SIGNATURE) as answer:
        found: dict[str, Any] = json.loads(await answer.read()) if answer.status == 200 else {}
        return found


def allows(policy: dict[str, Any], action: str, resource: str, *, distribution: str, signed: bool) -> bool:
    """Whether a bucket's policy lets a distribution (its id) do something. Only Allow statements are read."""
    source = f"arn:aws:cloudfront::{ACCOUNT}:distribution/{distribution}"
    return any(
        statement["Effect"] == "Allow"
        and _is_principal(statement.get("Principal"), signed=signed)
        and _matches(statement.get("Action", []), action, fold=True)
        and _matches(statement.get("Resource", []), resource)
        and _holds(statement.get("Condition", {}), source if signed else None)
        for statement in _list(policy.get("Statement", []))
    )


def _is_principal(principal: Any, *, signed: bool) -> bool:
    if principal in ("*", {"AWS": "*"}):
        return True
    return signed and isinstance(principal, dict) and _SERVICE in _list(principal.get("Service", []))


def _holds(condition: dict[str, dict[str, Any]], source: str | None) -> bool:
    """The conditions that CloudFront's own policies have; any other does not hold."""
    values = {"aws:sourcearn": source, "aws:sourceaccount": ACCOUNT if source else None}
    for operator, wanted in condition.items():
        if operator not in {"StringEquals", "StringLike", "ArnEquals", "ArnLike"}:
            return False
        for key, patterns in wanted.items():
            value = values.get(key.lower())
            if value is None or not _matches(patterns, value):
                return False
    return True


def _matches(patterns: Any, value: str, *, fold: bool = False) -> bool:
    """`*` and `?` as in policies; a bracket is a bracket."""
    return any(
        fnmatchcase(value.lower() if fold else value, (one.lower() if fold else one).replace("[", "[[]"))
        for one in _list(patterns)
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
