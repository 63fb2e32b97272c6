"""Why an account refused: the conditions of its expressions once more, over the item as it was.

Only who has the whole key is told anything of it: to all others a key that nobody has, and a wrong secret for one that
somebody has, are the same.
"""

import hmac

from lambda_fn.aws.attributes import Item
from lambda_fn.ids import request_time
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.reservations import Reservation, choose
from lambda_fn.metering.windows import Window, windows_of
from lambda_fn.networks import ANYWHERE


class KeyUnknown(Exception):
    """Nobody has this key."""


class KeyRefused(Exception):
    """The key exists and may not be used: `reason` is `disabled`, `expired` or `replaced`."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class ModelRefused(Exception):
    """The key may not use this model."""


class NetworkRefused(Exception):
    """The key may not be used from the caller's address."""


class Unpriced(Exception):
    """The key has a budget of cost, and the model has no price by which it could be held."""


class LimitReached(Exception):
    """A limit does not allow the request. `window` is None for `max_streams`."""

    def __init__(self, account: Account, *, limit: str, left: int, needed: int, window: Window | None) -> None:
        """Keep what a caller is to be told."""
        super().__init__(limit)
        self.account = account
        self.limit = limit
        self.most: int = getattr(account.limits, limit)
        self.left = left
        self.needed = needed
        self.window = window


class Contended(Exception):
    """DynamoDB refuses more writes to the key's item for now."""


class Running(Exception):
    """The request is the repeat of one that still runs, `request_id`."""

    def __init__(self, request_id: str) -> None:
        """Keep which."""
        super().__init__(request_id)
        self.request_id = request_id


_NO_HASH = "-" * 64
"""As long as a hash, and like none: in place of that of a key that nobody has, or that was deleted."""
_NOBODY: Item = {"secret_hash": _NO_HASH, "enabled": False}

Refusal = KeyUnknown | KeyRefused | NetworkRefused | ModelRefused | Unpriced | LimitReached | Contended | Running


def running(account: Account, request_id: str, fingerprint: str) -> Running | None:
    """Give another request in flight that is the same, if there is one."""
    for other, entry in account.in_flight.items():
        if other != request_id and fingerprint and entry.fingerprint == fingerprint:
            return Running(other)
    return None


def key_refusal(item: Item | None, key_hash: str, *, now: int) -> KeyUnknown | KeyRefused | None:
    """Give what is wrong with a key, None when nothing is. A key that nobody has is compared like any other."""
    found = _NOBODY if item is None else item
    current = hmac.compare_digest(found["secret_hash"] or _NO_HASH, key_hash)
    good_until = [end for old, end in found.get("old_secrets", {}).items() if hmac.compare_digest(old, key_hash)]
    if not current and not good_until:
        return KeyUnknown()
    if not found["enabled"]:
        return KeyRefused("disabled")
    if found.get("expires", now + 1) <= now:
        return KeyRefused("expired")
    if not current and good_until[0] <= now:
        return KeyRefused("replaced")
    return None


def refusal(item: Item | None, key_hash: str, reservation: Reservation, *, now: int) -> Refusal | None:
    """Give why a reservation was refused, a budget before a rate; None when nothing speaks against it."""
    wrong = key_refusal(item, key_hash, now=now)
    if wrong is not None or item is None:
        return wrong
    account = Account.of(item)
    if account.networks not in {ANYWHERE, reservation.networks}:
        return NetworkRefused()
    if account.models is not None and reservation.model not in account.models:
        return ModelRefused()
    if not reservation.priced and account.limits.budgets_cost:
        return Unpriced()
    for window in reversed(windows_of(request_time(reservation.request_id))):
        left, needed = account.left(window), choose(window, 1, reservation.tokens, reservation.cost)
        if left < needed:
            return LimitReached(account, limit=window.limit, left=left, needed=needed, window=window)
    if len(account.in_flight) >= account.limits.max_streams:
        return LimitReached(account, limit="max_streams", left=0, needed=1, window=None)
    return None
