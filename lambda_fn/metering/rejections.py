"""Explains a rejected write by evaluating its conditions against the item that it met.

    KeyUnknown        no account has the secret
    KeyRejected       the key exists and may not be used
    NetworkRejected   the key may not be used from the caller's address
    ModelRejected     the key may not use the model
    Unpriced          the key has a budget of cost, and the model has no price
    LimitReached      a limit does not allow the request
    RepeatRunning     the request repeats one that is still running
    Contended         DynamoDB accepts no more writes to the account for now

Only a caller with the whole key learns anything about it: for all others an unknown key and a wrong
secret look the same.
"""

import hmac

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.ids import request_time
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.holds import HoldRequest, amount_in
from lambda_fn.metering.windows import Window, windows_of
from lambda_fn.networks import ANYWHERE


class KeyUnknown(msgspec.Struct, frozen=True):
    """No account has this secret."""


class KeyRejected(msgspec.Struct, frozen=True):
    """The key exists and may not be used: `reason` is `disabled`, `expired` or `replaced`."""

    reason: str


class ModelRejected(msgspec.Struct, frozen=True):
    """The key may not use this model."""


class NetworkRejected(msgspec.Struct, frozen=True):
    """The key may not be used from the caller's address."""


class Unpriced(msgspec.Struct, frozen=True):
    """The key has a budget of cost, and the model has no price, so the budget cannot be kept."""


class LimitReached(msgspec.Struct, frozen=True):
    """A limit does not allow the request. `window` is None for `max_streams`."""

    account: Account
    limit: str
    remaining: int
    needed: int
    window: Window | None

    @property
    def maximum(self) -> int:
        """The value of the limit."""
        value: int = getattr(self.account.limits, self.limit)
        return value


class Contended(msgspec.Struct, frozen=True):
    """DynamoDB accepts no more writes to the key's item for now."""


class RepeatRunning(msgspec.Struct, frozen=True):
    """The request repeats another one, `request_id`, which is still running."""

    request_id: str


Rejection = (
    KeyUnknown
    | KeyRejected
    | NetworkRejected
    | ModelRejected
    | Unpriced
    | LimitReached
    | Contended
    | RepeatRunning
)

_NO_HASH = "-" * 64
"""Stands for the hash of an unknown or deleted key. It is as long as a hash, and equal to none."""
_UNKNOWN_KEY: Item = {"secret_hash": _NO_HASH, "enabled": False}


def running_repeat(account: Account, request_id: str, fingerprint: str) -> RepeatRunning | None:
    """Return the rejection if another request in flight has the same fingerprint; None if not."""
    for other, hold in account.in_flight.items():
        if other != request_id and fingerprint and hold.fingerprint == fingerprint:
            return RepeatRunning(other)
    return None


def key_rejection(item: Item | None, key_hash: str, *, now: int) -> KeyUnknown | KeyRejected | None:
    """Return why a key may not be used, or None. An unknown key is compared like any other."""
    account = _UNKNOWN_KEY if item is None else item
    current = hmac.compare_digest(account["secret_hash"] or _NO_HASH, key_hash)
    old_secrets = account.get("old_secrets", {}).items()
    valid_until = [end for old, end in old_secrets if hmac.compare_digest(old, key_hash)]
    if not current and not valid_until:
        return KeyUnknown()
    if not account["enabled"]:
        return KeyRejected("disabled")
    if account.get("expires", now + 1) <= now:
        return KeyRejected("expired")
    if not current and valid_until[0] <= now:
        return KeyRejected("replaced")
    return None


def rejection(
    item: Item | None, key_hash: str, request: HoldRequest, *, now: int
) -> Rejection | None:
    """Return why a hold was rejected, or None if the item allows it.

    If several limits are reached, a budget is named before a rate.
    """
    wrong = key_rejection(item, key_hash, now=now)
    if wrong is not None or item is None:
        return wrong
    account = Account.of(item)
    if account.networks not in {ANYWHERE, request.networks}:
        return NetworkRejected()
    if not account.may_use(request.model):
        return ModelRejected()
    if not request.priced and account.limits.budgets_cost:
        return Unpriced()
    for window in reversed(windows_of(request_time(request.request_id))):
        remaining = account.remaining(window)
        needed = amount_in(window, 1, request.tokens, request.cost)
        if remaining < needed:
            return LimitReached(account, window.limit, remaining, needed, window)
    if len(account.in_flight) >= account.limits.max_streams:
        return LimitReached(account, "max_streams", 0, 1, None)
    return None
