"""Who may use the admin API: whoever IAM let invoke the function, or who holds the admin secret and came by the
distribution. Neither secret is ever logged.
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
"""Set by the handler in events of `lambda:InvokeFunction`; what comes by URL cannot name members of its event."""

FRESH = 300.0
"""Seconds for which the versions of the secret are taken to be what they were when they were read."""

DOUBT = 5.0
"""A secret that is not known is looked up again when the last look was so long ago: it may be a new one. After a look
that failed, the next one is so much later.
"""

STALE = 3600.0
"""While Secrets Manager does not answer, what was read holds for so long; then nobody comes in by it."""

_MOST = 512


class AdminSecret:
    """The current and the previous version, as last read."""

    def __init__(self, manager: SecretsManager, arn: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Read nothing yet."""
        self._manager = manager
        self._arn = arn
        self._clock = clock
        self._known: dict[str, str] = {}  # value -> id of the version
        self._read = self._tried = float("-inf")

    async def accepts(self, given: str) -> str | None:
        """Return the id of the version that this is; None if it is neither of the two.

        Raises:
            Unavailable: they cannot be read now, and what was read before is too old, or was taken away.

        """
        if self._clock() - self._read > FRESH or _version(given, self._known) is None:
            await self._refresh()
        if self._clock() - self._read > STALE:
            raise Unavailable("The admin secret cannot be read now.", retry_after=int(DOUBT))
        return _version(given, self._known)

    async def _refresh(self) -> None:
        if self._clock() - self._tried <= DOUBT:
            return
        self._tried = self._clock()
        try:
            found = [await self._manager.version(self._arn, stage) for stage in ("AWSCURRENT", "AWSPREVIOUS")]
        except SecretError as error:
            log("fault", error="SecretError", kind=error.kind)
            if not isinstance(error, SecretsUnavailable):  # refused: access was taken away, or the secret is gone
                self._known, self._read = {}, float("-inf")
            return  # else what was read before still holds, for a time
        self._known = {value: version for version, value in filter(None, found) if value}
        self._read = self._clock()


def _version(given: str, known: Mapping[str, str]) -> str | None:
    # every secret is compared, so that the time does not tell which one matched
    found = [version for secret, version in known.items() if hmac.compare_digest(given.encode(), secret.encode())]
    return found[0] if found else None


class Gate:
    """Decides on every request."""

    def __init__(self, secret: AdminSecret | None, origin_secrets: Sequence[str], right: Right | None = None) -> None:
        """Without a `secret` only IAM's callers come in; without a `right` they do not: it is the URL's function."""
        self._secret = secret
        self._right = right
        self._origin_secrets = origin_secrets

    def check_origin(self, event: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Let through what came by the distribution or by IAM.

        Raises:
            PermissionDenied: neither.

        """
        if event.get(INVOKED) is not True:
            check_origin(headers, self._origin_secrets)

    async def check_admin(self, event: Mapping[str, Any], headers: Mapping[str, str]) -> str:
        """Let through who may administer; return who that is, as the audit trail calls it.

        Raises:
            AuthenticationFailed: no secret was given, or one that is not, or no longer, the admin secret.
            PermissionDenied: this deployment takes no secret, or this function is not the one that IAM leads to.
            Unavailable: it cannot be known now.

        """
        if event.get(INVOKED) is True:
            if self._right is None:
                text = "This function serves the distribution. Invoke the one that AdminFunctionName names"
                raise PermissionDenied(f"{text}, or one with fewer rights.", code="url_only")
            return f"iam:{self._right}"
        if self._secret is None:
            raise PermissionDenied("This deployment is administered through IAM only.", code="iam_only")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            raise AuthenticationFailed(
                "No admin secret given. Send it as 'Authorization: Bearer ...'.", code="invalid_admin_secret"
            )
        version = await self._secret.accepts(given) if len(given) <= _MOST else None
        if version is None:
            raise AuthenticationFailed(
                "Incorrect admin secret given. It may have been rotated: read it again from Secrets Manager.",
                code="invalid_admin_secret",
            )
        return f"secret:{version}"
