"""Identifies the sender of a request by its access key, and verifies the request's signature.

The time of a request may differ from this clock by five minutes (IAM user guide, "Signature Version
4 for API requests"), in S3 by fifteen (S3 API reference, "Authenticating Requests").
"""

import hashlib
import time
from dataclasses import dataclass, field
from typing import Any, Protocol

from aiohttp import web

from local import bodies, trust
from local.iam import signature
from local.iam.refusals import Kind
from local.iam.roles import Caller
from local.iam.signature import Sent, Signature, SignatureError

# The beginning of access keys of AssumeRole.
_TEMPORARY = "ASIA"
_SKEW_S = {"s3": 900.0}
_USUAL_SKEW_S = 300.0
# S3 bodies up to this size are hashed. Longer ones are streamed, and their hash is taken from the
# signature.
_SMALL = 256 * 1024


class Refused(Exception):
    """The sender cannot be authenticated.

    An empty `message` stands for the usual message of the kind.
    """

    def __init__(self, kind: Kind, service: str = "", message: str = "") -> None:
        """`service` is the service in the signature, or empty if it cannot be read."""
        super().__init__(kind.name)
        self.kind, self.service, self.message = kind, service, message


class Control(Protocol):
    """Requests to the control plane."""

    async def get_json(self, path: str, **query: str) -> Any:
        """Return the role that a key belongs to."""


@dataclass(frozen=True)
class _Access:
    """One access key. `caller` is None for the developer's key."""

    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    expires: float | None = None
    caller: Caller | None = None


class Authentication:
    """Knows the developer's key and the keys that AssumeRole issued."""

    def __init__(self, control: Control, keys: trust.Keys) -> None:
        """`keys` are the developer's. Each temporary key is looked up in `control` once."""
        self._control = control
        self._known = {keys.access_key: _Access(keys.secret_key)}

    async def of(self, request: web.Request) -> tuple[Signature, Caller | None]:
        """Return the signature of a request, and its caller, which is None for the developer.

        Raises Refused.
        """
        headers = _joined(request)
        try:
            signed = signature.read(headers, request.query)
            if signed is None:
                raise Refused(Kind.UNSIGNED)
            signed_at = signed.time
        except SignatureError as error:
            raise Refused(
                Kind.INCOMPLETE, message=f"The signature cannot be read: {error}."
            ) from None
        access = await self._access(signed)
        now = time.time()
        if signed.token != access.token:
            raise Refused(Kind.WRONG_TOKEN, signed.service)
        if access.expires is not None and now >= access.expires:
            raise Refused(Kind.EXPIRED_TOKEN, signed.service)
        skew = _SKEW_S.get(signed.service, _USUAL_SKEW_S)
        if signed_at > now + skew or (signed.expires is None and signed_at < now - skew):
            raise Refused(Kind.EXPIRED, signed.service)
        if signed.expires is not None and now > signed_at + signed.expires:
            raise Refused(Kind.EXPIRED_ADDRESS, signed.service)
        await self._check(request, signed, headers, access.secret_key)
        return signed, access.caller

    async def _access(self, signed: Signature) -> _Access:
        if signed.key not in self._known:
            credentials = (
                await self._control.get_json("caller", key=signed.key)
                if signed.key.startswith(_TEMPORARY)
                else None
            )
            if credentials is None:
                raise Refused(Kind.UNKNOWN_KEY, signed.service)
            caller = Caller(
                credentials["role"], credentials["session"], credentials["session_policy"]
            )
            self._known[signed.key] = _Access(
                credentials["secret_key"], credentials["token"], credentials["expires"], caller
            )
        return self._known[signed.key]

    async def _check(
        self, request: web.Request, signed: Signature, headers: dict[str, str], secret: str
    ) -> None:
        if (name := signature.unsigned(signed, headers)) is not None:
            raise Refused(
                Kind.MISMATCH,
                signed.service,
                f"There were headers present which were not signed: {name}",
            )
        digest = await _digest(request, signed, headers)
        path, _, query = request.raw_path.partition("?")
        try:
            claimed = signature.payload(signed, headers, digest)
        except SignatureError as error:
            raise Refused(
                Kind.INCOMPLETE, signed.service, f"The signature cannot be read: {error}."
            ) from None
        if not signature.matches(
            signed, Sent(request.method, path, query, headers), claimed, secret
        ):
            raise Refused(Kind.MISMATCH, signed.service)
        if signed.service == "s3" and digest not in {"", claimed}:
            raise Refused(Kind.OTHER_BODY, signed.service)


def _joined(request: web.Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, text in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


async def _digest(request: web.Request, signed: Signature, headers: dict[str, str]) -> str:
    """Return the SHA-256 of the body, or an empty text if the body need not be hashed.

    That is so for a signature that holds for any body, and for large bodies of S3. The body is kept
    for the code that passes the request on, because a stream can be read once.

    Raises Refused.
    """
    large = signed.service == "s3" and (request.content_length or 0) > _SMALL
    if large or not signature.hashes_body(signed, headers):
        return ""
    body = await bodies.read(request, bodies.LARGEST)
    if body is None:
        raise Refused(Kind.TOO_LARGE, signed.service)
    return hashlib.sha256(body).hexdigest()
