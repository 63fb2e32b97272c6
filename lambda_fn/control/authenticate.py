"""Who may use the admin API: whoever IAM let invoke the function, or who holds the admin secret and came by the
distribution. Neither secret is ever logged.
"""

import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lambda_fn.authenticate import check_origin
from lambda_fn.aws.secretsmanager import SecretError, SecretsManager, SecretsUnavailable
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
        self._known: tuple[str, ...] = ()
        self._read = self._tried = float("-inf")

    async def accepts(self, given: str) -> bool:
        """Say whether this is one of the two.

        Raises:
            Unavailable: they cannot be read now, and what was read before is too old, or was taken away.

        """
        if self._clock() - self._read > FRESH or not _among(given, self._known):
            await self._refresh()
        if self._clock() - self._read > STALE:
            raise Unavailable("The admin secret cannot be read now.", retry_after=int(DOUBT))
        return _among(given, self._known)

    async def _refresh(self) -> None:
        if self._clock() - self._tried <= DOUBT:
            return
        self._tried = self._clock()
        try:
            found = [await self._manager.value(self._arn, stage) for stage in ("AWSCURRENT", "AWSPREVIOUS")]
        except SecretError as error:
            log("fault", error="SecretError", kind=error.kind)
            if not isinstance(error, SecretsUnavailable):  # refused: access was taken away, or the secret is gone
                self._known, self._read = (), float("-inf")
            return  # else what was read before still holds, for a time
        self._known = tuple(value for value in found if value)
        self._read = self._clock()


def _among(given: str, secrets: Sequence[str]) -> bool:
    # every secret is compared, so that the time does not tell which one matched
    return any([hmac.compare_digest(given.encode(), secret.encode()) for secret in secrets])  # noqa: C419 (see above)


class Gate:
    """Decides on every request."""

    def __init__(self, secret: AdminSecret | None, origin_secrets: Sequence[str]) -> None:
        """Without a secret only IAM's callers come in."""
        self._secret = secret
        self._origin_secrets = origin_secrets

    def check_origin(self, event: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Let through what came by the distribution or by IAM.

        Raises:
            PermissionDenied: neither.

        """
        if event.get(INVOKED) is not True:
            check_origin(headers, self._origin_secrets)

    async def check_admin(self, event: Mapping[str, Any], headers: Mapping[str, str]) -> None:
        """Let through who may administer.

        Raises:
            AuthenticationFailed: no secret was given, or one that is not, or no longer, the admin secret.
            PermissionDenied: this deployment takes no secret.
            Unavailable: it cannot be known now.

        """
        if event.get(INVOKED) is True:
            return
        if self._secret is None:
            raise PermissionDenied("This deployment is administered through IAM only.", code="iam_only")
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            raise AuthenticationFailed(
                "No admin secret given. Send it as 'Authorization: Bearer ...'.", code="invalid_admin_secret"
            )
        if len(given) > _MOST or not await self._secret.accepts(given):
            raise AuthenticationFailed(
                "Incorrect admin secret given. It may have been rotated: read it again from Secrets Manager.",
                code="invalid_admin_secret",
            )
