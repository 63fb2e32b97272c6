"""Maps S3's requests to IAM's actions and ARNs. Pure.

S3 names operations by method and sub-resource. Source: "Required permissions for Amazon S3 API
operations" in its guide.
"""

import re
from urllib.parse import unquote
from xml.etree import ElementTree

from local.iam.operations import Call, segments
from local.iam.policy import Need

_LOCAL = re.compile(r"(localhost|[\d.]+|s3[\w.-]*)(:\d+)?")
_VIRTUAL = re.compile(r"(.+?)\.(localhost|s3[\w.-]*)(:\d+)?")

# Actions by method and sub-resource: of a bucket, and of an object.
_BUCKET = {
    ("GET", "location"): "GetBucketLocation",
    ("GET", "encryption"): "GetEncryptionConfiguration",
    ("GET", "policy"): "GetBucketPolicy",
    ("GET", "acl"): "GetBucketAcl",
    ("GET", "versioning"): "GetBucketVersioning",
    ("GET", "versions"): "ListBucketVersions",
    ("GET", "uploads"): "ListBucketMultipartUploads",
    ("GET", "tagging"): "GetBucketTagging",
    ("GET", ""): "ListBucket",
    ("HEAD", ""): "ListBucket",
}
_OBJECT = {
    ("GET", "tagging"): "GetObjectTagging",
    ("PUT", "tagging"): "PutObjectTagging",
    ("GET", "acl"): "GetObjectAcl",
    ("GET", "attributes"): "GetObjectAttributes",
    ("GET", "uploadId"): "ListMultipartUploadParts",
    ("GET", "versionId"): "GetObjectVersion",
    ("HEAD", "versionId"): "GetObjectVersion",
    ("DELETE", "versionId"): "DeleteObjectVersion",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
    ("PUT", "uploadId"): "PutObject",
    ("POST", "uploadId"): "PutObject",
    ("POST", "uploads"): "PutObject",
    ("GET", ""): "GetObject",
    ("HEAD", ""): "GetObject",
    ("PUT", ""): "PutObject",
    ("DELETE", ""): "DeleteObject",
}
# These parameters change the form of a response, not its operation.
_PLAIN = {
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "list-type",
    "marker",
    "max-keys",
    "partNumber",
    "prefix",
    "start-after",
    "x-id",
}


def needs(call: Call) -> list[Need] | None:
    """Return the permissions that a request needs; None for an unknown operation."""
    bucket, key = address(call.host, call.path)
    if not bucket:
        return [Need("s3:ListAllMyBuckets", "*")] if call.method == "GET" else None
    own = [
        name
        for name in call.query
        if name not in _PLAIN and not name.lower().startswith(("x-amz-", "response-"))
    ]
    if len(own) > 1:
        return None
    sub = own[0] if own else ""
    bucket_arn = f"arn:aws:s3:::{bucket}"
    # The one account here owns all resources.
    owner = ("s3:ResourceAccount", (call.account,))
    if not key:
        if (call.method, sub) == ("POST", "delete"):
            document = ElementTree.fromstring(call.body)  # noqa: S314 - the caller is local
            keys = [str(item.text) for item in document.iter() if item.tag.endswith("Key")]
            return [Need("s3:DeleteObject", f"{bucket_arn}/{item}", (owner,)) for item in keys]
        action = _BUCKET.get((call.method, sub))
        prefix = (("s3:prefix", (call.query["prefix"],)),) if "prefix" in call.query else ()
        return [Need(f"s3:{action}", bucket_arn, (owner, *prefix))] if action else None
    action = _OBJECT.get((call.method, sub))
    needed = [Need(f"s3:{action}", f"{bucket_arn}/{key}", (owner,))]
    if source := call.headers.get("x-amz-copy-source"):
        plain = unquote(source.partition("?")[0]).lstrip("/")
        needed.append(Need("s3:GetObject", f"arn:aws:s3:::{plain}", (owner,)))
    return needed if action else None


def address(host: str, path: str) -> tuple[str, str]:
    """Return the bucket and the key of a request; either may be empty.

    The bucket is in the host's name or in the first part of the path.
    """
    match = None if _LOCAL.fullmatch(host) else _VIRTUAL.fullmatch(host)
    parts = segments(path)
    if match:
        return match[1], unquote(path.lstrip("/"))
    return parts[0], unquote(path.lstrip("/").partition("/")[2])
