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

    async def get_json(self, what: str, **query: str) -> Any:
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
            found = signature.read(headers, request.query)
            if found is None:
                raise Refused(Kind.UNSIGNED)
            made = found.time
        except SignatureError as error:
            raise Refused(
                Kind.INCOMPLETE, message=f"The signature cannot be read: {error}."
            ) from None
        access = await self._access(found)
        now = time.time()
        if found.token != access.token:
            raise Refused(Kind.WRONG_TOKEN, found.service)
        if access.expires is not None and now >= access.expires:
            raise Refused(Kind.EXPIRED_TOKEN, found.service)
        skew = _SKEW_S.get(found.service, _USUAL_SKEW_S)
        if made > now + skew or (found.expires is None and made < now - skew):
            raise Refused(Kind.EXPIRED, found.service)
        if found.expires is not None and now > made + found.expires:
            raise Refused(Kind.EXPIRED_ADDRESS, found.service)
        await self._check(request, found, headers, access.secret_key)
        return found, access.caller

    async def _access(self, found: Signature) -> _Access:
        if found.key not in self._known:
            told = (
                await self._control.get_json("caller", key=found.key)
                if found.key.startswith(_TEMPORARY)
                else None
            )
            if told is None:
                raise Refused(Kind.UNKNOWN_KEY, found.service)
            caller = Caller(told["role"], told["session"], told["session_policy"])
            self._known[found.key] = _Access(
                told["secret_key"], told["token"], told["expires"], caller
            )
        return self._known[found.key]

    async def _check(
        self, request: web.Request, found: Signature, headers: dict[str, str], secret: str
    ) -> None:
        if (name := signature.unsigned(found, headers)) is not None:
            raise Refused(
                Kind.MISMATCH,
                found.service,
                f"There were headers present which were not signed: {name}",
            )
        digest = await _digest(request, found, headers)
        path, _, query = request.raw_path.partition("?")
        try:
            claimed = signature.payload(found, headers, digest)
        except SignatureError as error:
            raise Refused(
                Kind.INCOMPLETE, found.service, f"The signature cannot be read: {error}."
            ) from None
        if not signature.matches(
            found, Sent(request.method, path, query, headers), claimed, secret
        ):
            raise Refused(Kind.MISMATCH, found.service)
        if found.service == "s3" and digest not in {"", claimed}:
            raise Refused(Kind.OTHER_BODY, found.service)


def _joined(request: web.Request) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, text in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]},{text}" if key in headers else text
    return headers


async def _digest(request: web.Request, found: Signature, headers: dict[str, str]) -> str:
    """Return the SHA-256 of the body, or an empty text if the body need not be hashed.

    That is so for a signature that holds for any body, and for large bodies of S3. The body is kept
    for the code that passes the request on, because a stream can be read once.

    Raises Refused.
    """
    large = found.service == "s3" and (request.content_length or 0) > _SMALL
    if large or not signature.hashes_body(found, headers):
        return ""
    body = await bodies.read(request, bodies.LARGEST)
    if body is None:
        raise Refused(Kind.TOO_LARGE, found.service)
    return hashlib.sha256(body).hexdigest()
