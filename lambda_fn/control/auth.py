"""Authenticates callers of the admin API.

A caller either invokes the function through IAM, or comes through the distribution with the admin
secret. No secret is ever logged.
"""

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lambda_fn.auth import check_origin
from lambda_fn.aws.secretsmanager import SecretError, SecretsManager, SecretsUnavailable
from lambda_fn.control.rights import Right
from lambda_fn.errors import AuthenticationFailed, PermissionDenied, Unavailable
from lambda_fn.log import log

INVOKED = "sluice.invoked"
"""The member that the handler sets in events of `lambda:InvokeFunction`.

A request by URL cannot set members.
"""

FRESH = 300.0
"""Seconds for which the versions of the secret are used without reading them again."""

DOUBT = 5.0
"""Minimum seconds between two reads. An unknown secret causes one, because it may be a new one."""

STALE = 3600.0
"""Seconds for which the versions are used while Secrets Manager does not answer.

After that, all secrets are refused.
"""

_MAX_LENGTH = 512


class AdminSecret:
    """The current and the previous version of the admin secret, as last read."""

    def __init__(
        self, manager: SecretsManager, arn: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the ARN of the secret. Nothing is read yet."""
        self._manager = manager
        self._arn = arn
        self._clock = clock
        self._versions: dict[str, str] = {}  # value -> id of the version
        self._read = self._tried = float("-inf")

    async def accepts(self, secret: str) -> str | None:
        """Return the id of the version with this value, or None if neither has it.

        Raises:
            Unavailable: the versions cannot be read now, and those read before are too old, or
                access was denied.

        """
        if self._clock() - self._read > FRESH or _version(secret, self._versions) is None:
            await self._refresh()
        if self._clock() - self._read > STALE:
            raise Unavailable(
                "The admin secret cannot be read from Secrets Manager now. Try again.",
                retry_after=int(DOUBT),
            )
        return _version(secret, self._versions)

    async def _refresh(self) -> None:
        if self._clock() - self._tried <= DOUBT:
            return
        self._tried = self._clock()
        try:
            versions = [
                await self._manager.version(self._arn, stage)
                for stage in ("AWSCURRENT", "AWSPREVIOUS")
            ]
        except SecretError as error:
            log("fault", error="SecretError", kind=error.kind)
            if not isinstance(error, SecretsUnavailable):
                # The call was rejected: access was removed, or the secret was deleted.
                self._versions, self._read = {}, float("-inf")
            return  # otherwise the versions that were read before stay valid for a time
        self._versions = {value: version for version, value in filter(None, versions) if value}
        self._read = self._clock()


def _version(secret: str, versions: Mapping[str, str]) -> str | None:
    # Both values are compared, so that the time does not tell which one matched.
    matches = [
        version
        for value, version in versions.items()
        if hmac.compare_digest(secret.encode(), value.encode())
    ]
    return matches[0] if matches else None


class Gate:
    """Authorises every request."""

    def __init__(
        self, secret: AdminSecret | None, origin_secrets: Sequence[str], right: Right | None = None
    ) -> None:
        """Set which callers are accepted.

        Without a `secret`, only callers through IAM are. Without a `right`, callers through IAM are
        not, because this is the function behind the URL.
        """
        self._secret = secret
        self._right = right
        self._origin_secrets = origin_secrets

    def check_origin(self, event: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Accept a request that came through the distribution or IAM.

        Raises:
            PermissionDenied: it came through neither.

        """
        if event.get(INVOKED) is not True:
            check_origin(headers, self._origin_secrets)

    async def check_admin(self, event: Mapping[str, Any], headers: Mapping[str, str]) -> str:
        """Accept a caller who may administer, and return the caller's name in the audit trail.

        Raises:
            AuthenticationFailed: the admin secret is missing or wrong.
            PermissionDenied: this deployment accepts no secret, or this function accepts no callers
                through IAM.
            Unavailable: the admin secret cannot be read now.

        """
        if event.get(INVOKED) is True:
            if self._right is None:
                text = "This function serves the distribution. Invoke the one in AdminFunctionName"
                raise PermissionDenied(f"{text}, or one with fewer rights.", code="url_only")
            return f"iam:{self._right}"
        if self._secret is None:
            raise PermissionDenied(
                "This deployment is administered through IAM only.", code="iam_only"
            )
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not secret:
            raise AuthenticationFailed(
                "No admin secret. Send it as 'Authorization: Bearer ...'.",
                code="invalid_admin_secret",
            )
        version = await self._secret.accepts(secret) if len(secret) <= _MAX_LENGTH else None
        if version is None:
            raise AuthenticationFailed(
                "Incorrect admin secret. It may have been rotated: read it from Secrets Manager.",
                code="invalid_admin_secret",
            )
        return f"secret:{version}"
