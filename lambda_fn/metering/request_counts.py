"""Counts a call that spends nothing in the key's requests per minute.

A request that is admitted counts by its hold (`holds.place`). A call that only reads has no hold:
it authenticates by a read, and counts by this update, which names no attribute but `balance`. So a
function whose role may write nothing else of an account can make it. An attempt that is repeated
because its response was lost counts twice.
"""

from lambda_fn.aws.dynamodb import Update
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.holds import MAX_EXPIRED
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.windows import UNLIMITED, Window, expired, windows_of


def minute_of(now: float) -> Window:
    """Return the window of the requests of a minute."""
    return windows_of(now)[0]


def count(account: Account, *, now: float) -> Update | None:
    """Return the update that counts a call, or None if the key has no limit of requests.

    The limit is the one that the account had when it was read. The update fails if nothing remains
    in the window. It also removes windows that have ended, for keys that make no other calls.
    """
    limit = account.limits.requests_minute
    if limit >= UNLIMITED:
        return None
    window = minute_of(now)
    names, removed = {"#now": window.name}, []
    for number, name in enumerate(expired(account.balance, now)[:MAX_EXPIRED]):
        names[f"#s{number}"] = name
        removed.append(f"balance.#s{number}")
    remaining = "balance.#now"
    update = f"SET {remaining} = if_not_exists({remaining}, :limit) - :one"
    if removed:
        update += " REMOVE " + ", ".join(removed)
    condition = f"attribute_not_exists({remaining}) OR {remaining} >= :one"
    return Update(
        account_key(account.key_id),
        update=update,
        condition=f"attribute_exists(balance) AND ({condition})",
        names=names,
        values={":one": 1, ":limit": limit},
    )
