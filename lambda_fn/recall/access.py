"""Who may call: authentication by a read, and the count of requests.

Every call reads the account. So a key that was disabled, has expired or was replaced reads nothing
from then on, and no environment remembers that it could.
"""

import time
from collections.abc import Mapping

import msgspec

from lambda_fn.auth import Caller, read_key, wrong_key
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.errors import Unavailable
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.rejections import LimitReached
from lambda_fn.metering.request_counts import count, minute_of
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.rate_limit_errors import public, rate_headers


class Access:
    """Authenticates and counts the calls of the recall function."""

    def __init__(self, table: Table) -> None:
        """Take the usage table."""
        self._table = table
        self._gate = Gate(table)

    async def admit(
        self, headers: Mapping[str, str], client: tuple[str, int] | None
    ) -> tuple[Caller, dict[str, str]]:
        """Return the caller, and the headers about its limits.

        Raises:
            AuthenticationFailed, PermissionDenied: the key may not be used.
            RateLimited: the key has made all its requests of this minute.
            Unavailable: DynamoDB does not answer.

        """
        caller = read_key(headers, client)
        account = await self._gate.check_key(caller)
        now = time.time()
        return caller, rate_headers(await self._count(account, now), when=now, now=now)

    async def _count(self, account: Account, now: float) -> Account:
        """Count a call, and return the account with it."""
        update = count(account, now=now)
        if update is None:
            return account
        try:
            await self._table.update(update)
        except ConditionFailed as failed:
            if failed.item is None:
                raise wrong_key() from None  # it was removed since it was read
            current = Account.of(failed.item)
            window = minute_of(now)
            reached = LimitReached(current, window.limit, current.remaining(window), 1, window)
            raise public(reached, model="", when=now, now=now) from None
        except MeterUnavailable:
            raise Unavailable(
                "The usage meter does not answer, so nothing was read or changed. Try again.",
                retry_after=5,
            ) from None
        window = minute_of(now)
        balance = {**account.balance, window.name: account.remaining(window) - 1}
        return msgspec.structs.replace(account, balance=balance)
