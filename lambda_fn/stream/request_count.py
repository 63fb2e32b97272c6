"""Counts a call that spends nothing: it reads kept answers, or gets one that exists."""

import msgspec

from lambda_fn.auth import wrong_key
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table
from lambda_fn.errors import Unavailable
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.rejections import LimitReached
from lambda_fn.metering.request_counts import count, minute_of
from lambda_fn.stream.rate_limit_errors import public


async def count_request(table: Table, account: Account, now: float) -> Account:
    """Count a call in the key's requests per minute, and return the account with it.

    `table` is the usage table, and `account` was read just before. `now` is in Unix seconds.

    Raises:
        AuthenticationFailed: the key was removed since it was read.
        RateLimited: the key has made all its requests of this minute.
        Unavailable: DynamoDB does not answer.

    """
    update = count(account, now=now)
    if update is None:
        return account
    try:
        await table.update(update)
    except ConditionFailed as failed:
        if failed.item is None:
            raise wrong_key() from None
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
