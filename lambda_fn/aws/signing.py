"""AWS Signature Version 4, for requests without a query whose path needs no escaping.

Source: "Create a signed AWS API request", IAM User Guide. The tests compare every signature with
botocore's.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash as Hash


@dataclass(frozen=True)
class Credentials:
    """An access key; `token` is the session token of a role, or empty."""

    access_key: str
    secret_key: str
    token: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Credentials":
        """Read the credentials that Lambda sets. They are valid until the environment ends."""
        return cls(
            access_key=environment["AWS_ACCESS_KEY_ID"],
            secret_key=environment["AWS_SECRET_ACCESS_KEY"],
            token=environment.get("AWS_SESSION_TOKEN", ""),
        )


@lru_cache(maxsize=8)
def _signing_key(secret_key: str, date: str, region: str, service: str) -> "tuple[Hash, Hash]":
    """Return the two hashes with which an HMAC of the key begins. A copy of one takes less than
    a new one.
    """
    key = b"AWS4" + secret_key.encode()
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    block = key.ljust(64, b"\0")
    inner, outer = (bytes(byte ^ pad for byte in block) for pad in (0x36, 0x5C))
    return hashlib.sha256(inner), hashlib.sha256(outer)


def sign(
    *,
    credentials: Credentials,
    region: str,
    service: str,
    host: str,
    path: str,
    headers: Mapping[str, str],
    body: bytes,
    now: float | None = None,
    method: str = "POST",
) -> dict[str, str]:
    """Sign a request.

    Args:
        credentials: The credentials to sign with.
        region: Such as `eu-west-1`.
        service: The signing name of the service.
        host: With the port, unless it is the default of the scheme.
        path: Unreserved characters and `/` only, or the path as it is sent with each part escaped
            once more.
        headers: Their names are in lower case; all of them are signed.
        body: The whole body.
        now: Unix time in seconds; the current time when None.
        method: The HTTP method.

    Returns:
        All headers to send: `headers`, and `host`, `x-amz-date`, `x-amz-security-token`,
        `authorization`.

    """
    stamp = _stamp(int(time.time() if now is None else now))
    before, after, listed = _canonical(method, path, host, credentials.token, *headers.items())
    canonical = f"{before}{stamp}{after}{hashlib.sha256(body).hexdigest()}"
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    begun, outer = _signing_key(credentials.secret_key, stamp[:8], region, service)
    inner, signature = begun.copy(), outer.copy()
    inner.update(text.encode())
    signature.update(inner.digest())
    credential = f"Credential={credentials.access_key}/{scope}"
    scheme = f"{credential}, SignedHeaders={listed}, Signature={signature.hexdigest()}"
    signed = {
        **headers,
        "host": host,
        "x-amz-date": stamp,
        "authorization": f"AWS4-HMAC-SHA256 {scheme}",
    }
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    return signed


@lru_cache(maxsize=64)  # the same for all calls of an operation
def _canonical(
    method: str, path: str, host: str, token: str, *headers: tuple[str, str]
) -> tuple[str, str, str]:
    """Return the canonical request before and after its time, and the names that are signed.

    The hash of the body, which comes last, is missing.
    """
    signed = {
        **dict(headers),
        "host": host,
        "x-amz-date": "\0",
        **({"x-amz-security-token": token} if token else {}),
    }
    names = sorted(signed)
    listed = ";".join(names)
    lines = "".join(f"{name}:{' '.join(signed[name].split())}\n" for name in names)
    before, _, after = f"{method}\n{path}\n\n{lines}\n{listed}\n".partition("\0")
    return before, after, listed


@lru_cache(maxsize=4)
def _stamp(now: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
