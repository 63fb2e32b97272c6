"""Signature Version 4: reads a request's signature, and verifies it with a secret access key. Pure.

Sources: the IAM user guide, "Create a signed AWS API request"; the S3 API reference,
"Authenticating Requests (AWS Signature Version 4)". Chunks of a streamed S3 body have their own
signatures, which are not verified.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote, unquote

UNSIGNED = "UNSIGNED-PAYLOAD"
_ALGORITHM = "AWS4-HMAC-SHA256"
_CREDENTIAL = (
    r"(?P<key>[^/=,\s]+)/(?P<day>\d{8})/(?P<region>[^/,\s]*)/(?P<service>[^/,\s]+)/aws4_request"
)
_HEADER = re.compile(
    rf"{_ALGORITHM} +Credential={_CREDENTIAL}, *SignedHeaders=(?P<signed>[^,\s]+), "
    r"*Signature=(?P<value>[0-9a-f]{64})"
)
_QUERY = re.compile(_CREDENTIAL)
_TIME = "%Y%m%dT%H%M%SZ"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STREAMED = re.compile(r"STREAMING-[A-Z0-9-]+")
# The longest lifetime of a presigned URL, in seconds: a week.
_LONGEST_S = 604_800


class SignatureError(ValueError):
    """The signature of the request is malformed."""


@dataclass(frozen=True)
class Signature:
    """The fields of a signature.

    `expires` is the lifetime of a presigned URL in seconds, or None.
    """

    key: str
    day: str
    region: str
    service: str
    signed: tuple[str, ...]
    value: str
    stamp: str
    expires: int | None
    token: str | None

    @property
    def time(self) -> float:
        """The time of signing, in Unix seconds. Raises SignatureError."""
        try:
            return datetime.strptime(self.stamp, _TIME).replace(tzinfo=UTC).timestamp()
        except ValueError:
            raise SignatureError("the time must have the form 20261129T093000Z") from None


@dataclass(frozen=True)
class Sent:
    """A request as it was sent.

    `path` and `query` are not decoded; names of `headers` are in lower case, each with one value.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


def read(headers: Mapping[str, str], query: Mapping[str, str]) -> Signature | None:
    """Return the signature in the headers or in a presigned URL; None if there is none.

    Raises SignatureError.
    """
    if "authorization" in headers:
        match = _HEADER.fullmatch(headers["authorization"].strip())
        if "X-Amz-Signature" in query:
            raise SignatureError("there are two signatures")
        stamp, token, expires = (
            headers.get("x-amz-date", ""),
            headers.get("x-amz-security-token"),
            None,
        )
    elif "X-Amz-Credential" in query:
        match = _QUERY.fullmatch(query["X-Amz-Credential"])
        if query.get("X-Amz-Algorithm") != _ALGORITHM:
            raise SignatureError(f"the algorithm is not {_ALGORITHM}")
        stamp, token = query.get("X-Amz-Date", ""), query.get("X-Amz-Security-Token")
        lifetime = query.get("X-Amz-Expires", "")
        expires = int(lifetime) if re.fullmatch(r"\d{1,6}", lifetime) else _LONGEST_S + 1
        if expires > _LONGEST_S:
            raise SignatureError(f"X-Amz-Expires is not between 0 and {_LONGEST_S}")
    else:
        return None
    if match is None or not stamp.startswith(match["day"]):
        raise SignatureError(
            "the credential, the signed headers, the signature or the date is missing or malformed"
        )
    fields = match.groupdict()
    signed = tuple(fields.get("signed", query.get("X-Amz-SignedHeaders", "")).split(";"))
    if "host" not in signed or list(signed) != sorted(signed):
        raise SignatureError("Host must be signed, and the names of signed headers sorted")
    value = fields.get("value", query.get("X-Amz-Signature", ""))
    return Signature(
        fields["key"],
        fields["day"],
        fields["region"],
        fields["service"],
        signed,
        value,
        stamp,
        expires,
        token,
    )


def unsigned(signature: Signature, headers: Mapping[str, str]) -> str | None:
    """Return the name of an `x-amz-` header that is not signed; None if all are signed."""
    return next(
        (name for name in headers if name.startswith("x-amz-") and name not in signature.signed),
        None,
    )


def hashes_body(signature: Signature, headers: Mapping[str, str]) -> bool:
    """Return whether the signature holds for one body only. In S3 it may hold for any body."""
    if signature.service != "s3":
        return True
    return bool(_DIGEST.fullmatch(headers.get("x-amz-content-sha256", "")))


def payload(signature: Signature, headers: Mapping[str, str], digest: str) -> str:
    """Return the entry of the body in the canonical request.

    `digest` is the body's SHA-256. S3 takes the entry from a header instead.

    Raises SignatureError.
    """
    claimed = headers.get("x-amz-content-sha256")
    if signature.service != "s3":
        return digest
    if claimed is None:
        if signature.expires is None:
            raise SignatureError("x-amz-content-sha256 is missing")
        return UNSIGNED
    if not (claimed == UNSIGNED or _DIGEST.fullmatch(claimed) or _STREAMED.fullmatch(claimed)):
        raise SignatureError("x-amz-content-sha256 is malformed")
    return claimed


def matches(signature: Signature, sent: Sent, payload_hash: str, secret: str) -> bool:
    """Return whether `secret` made the signature."""
    canonical = _canonical(signature, sent, payload_hash)
    scope = f"{signature.day}/{signature.region}/{signature.service}/aws4_request"
    text = f"{_ALGORITHM}\n{signature.stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = _signing_key(secret, signature.day, signature.region, signature.service)
    return hmac.compare_digest(hmac.digest(key, text.encode(), "sha256").hex(), signature.value)


@lru_cache(maxsize=256)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _canonical(signature: Signature, sent: Sent, payload_hash: str) -> str:
    # S3's keys are used unchanged; the paths of all other services are encoded once more.
    path = sent.path if signature.service == "s3" else quote(_normal(sent.path), safe="/~")
    lines = "".join(
        f"{name}:{' '.join(sent.headers.get(name, '').split())}\n" for name in signature.signed
    )
    query = _query(sent.query) if sent.query else ""
    return f"{sent.method}\n{path or '/'}\n{query}\n{lines}\n{';'.join(signature.signed)}\n{payload_hash}"


def _query(raw: str) -> str:
    pairs = (part.partition("=") for part in raw.split("&") if part)
    encoded = sorted((_encoded(name), _encoded(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded if name != "X-Amz-Signature")


def _encoded(raw: str) -> str:
    return quote(unquote(raw, errors="surrogateescape"), safe="-_.~", errors="surrogateescape")


def _normal(path: str) -> str:
    if "//" not in path and "/." not in path:
        return path
    segments: list[str] = []
    parts: Sequence[str] = path.split("/")
    for part in parts:
        if part == "..":
            del segments[-1:]
        elif part not in {"", "."}:
            segments.append(part)
    # A path that ends in "/." or "/.." gets no slash at its end: botocore signs it so.
    return "/" + "/".join(segments) + ("/" if segments and path.endswith("/") else "")
