"""S3 as an origin: the bucket's policy decides what a distribution may read.

A distribution with an origin access control signs its requests. It then acts as the service
cloudfront.amazonaws.com on behalf of its ARN. Otherwise it is anonymous. Sources: the CloudFront
developer guide, "Restrict access to an Amazon S3 origin"; the S3 API reference, GetObject (403 in
place of 404 for a caller that may not list the bucket).
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import aiohttp

from local.cloud import ACCOUNT
from local.cloudfront.behaviours import Origin
from local.iam.policy import Context, Need, Principal, Verdict, evaluate, parse

_DOMAIN = re.compile(r"(?P<bucket>.+?)\.s3(?:[.-][a-z0-9-]+)?\.amazonaws\.com(?:\.cn)?")
_SERVICE = "cloudfront.amazonaws.com"
# moto takes every signer for the owner and does not verify the signature. Permissions are checked
# here instead.
SIGNATURE = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=edge/20000101/us-east-1/s3/aws4_request, "
    "SignedHeaders=host, Signature=none"
}
READING = ("GET", "HEAD", "OPTIONS")
DENIED = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code><Message>Access '
    "Denied</Message></Error>"
)


def bucket_of(origin: Origin) -> str | None:
    """Return the bucket of an S3 origin, None for other origins."""
    match = _DOMAIN.fullmatch(origin.domain) if origin.kind == "s3" else None
    return match["bucket"] if match else None


async def policy_of(
    session: aiohttp.ClientSession, s3_url: str, headers: Mapping[str, str], bucket: str
) -> dict[str, Any]:
    """Return a bucket's policy, empty if it has none."""
    async with session.get(f"{s3_url}/{bucket}?policy", headers=headers) as response:
        policy: dict[str, Any] = json.loads(await response.read()) if response.status == 200 else {}
        return policy


def allows(
    policy: dict[str, Any], action: str, resource: str, *, distribution: str, signed: bool
) -> bool:
    """Return whether a bucket's policy allows an action to a distribution.

    `distribution` is its id, and `signed` says whether it signs its requests.
    """
    context: Context = {"aws:securetransport": ("true",)}
    if signed:
        source = f"arn:aws:cloudfront::{ACCOUNT}:distribution/{distribution}"
        context = {**context, "aws:sourcearn": (source,), "aws:sourceaccount": (ACCOUNT,)}
    caller = Principal((_SERVICE,)) if signed else Principal()
    return evaluate(parse(policy), Need(action, resource), context, caller) is Verdict.ALLOWED
