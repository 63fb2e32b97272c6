"""The updates by which an admin changes an account: its secret and its limits.

Each has the condition that no other change was made since the account was read (`revision`). So a
write that DynamoDB executes late cannot undo a later change: it restores neither a replaced secret
nor an old limit.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Update
from lambda_fn.metering.accounts import LIMIT_NAMES, Account, Limits
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.windows import windows_of

MAX_OLD_SECRETS = 4
"""The maximum number of secrets of a key that are in their grace period at once."""
_NEAR = range(-120, 121, 60)
"""Offsets from now, in seconds. A change of limits also changes the windows of these times, because
clocks differ and the write takes time.
"""


class TooManySecrets(Exception):
    """The key already has `MAX_OLD_SECRETS` older secrets that are still valid."""


def revise(account: Account) -> Update:
    """Return the update that every change extends.

    It sets the next revision, on the condition that the account still has the one that was read.
    """
    was, values = account.revision, {":next": account.revision + 1}
    condition = "attribute_exists(pk) AND attribute_not_exists(revision)"
    if was:
        condition, values = "revision = :revision", {**values, ":revision": was}
    return Update(account_key(account.key_id), "SET revision = :next", condition, {}, values)


def rotate(item: Mapping[str, Any], new_hash: str, *, now: int, grace: int) -> Update:
    """Return the update that replaces a key's secret.

    The current secret stays valid for `grace` seconds, and older ones until their own ends. If
    `grace` is 0, all of them end at once. A rotation whose response was lost can be repeated: the
    secret that callers still use keeps its end.

    Raises:
        TooManySecrets: wait, or rotate without grace.

    """
    update = revise(Account.of(item))
    old_secrets = item.get("old_secrets", {})
    old = {secret_hash: end for secret_hash, end in old_secrets.items() if grace and end > now}
    if len(old) >= MAX_OLD_SECRETS:
        raise TooManySecrets
    if item["secret_hash"]:  # a revoked key has none
        old[item["secret_hash"]] = now + grace
    old.pop(new_hash, None)
    return msgspec.structs.replace(
        update,
        update=f"{update.update}, secret_hash = :hash, old_secrets = :old REMOVE revoked",
        values={**update.values, ":hash": new_hash, ":old": old},
    )


def revoke(account: Account, *, now: int) -> Update:
    """Return the update that removes all of a key's secrets and disables it.

    If the key is enabled again, it stays unusable until a rotation.
    """
    update = revise(account)
    revoked = "enabled = :no, secret_hash = :none, revoked = :now"
    return msgspec.structs.replace(
        update,
        update=f"{update.update}, {revoked} REMOVE old_secrets",
        values={**update.values, ":no": False, ":none": "", ":now": now},
    )


def change_limits(account: Account, new: Limits, *, now: float) -> Update:
    """Return the update that sets new limits.

    It adds each difference to what remains in the current windows, and in those that ended or begin
    within two minutes (`_NEAR`). It does not touch a window that no request has opened. Its
    condition is that no request has opened the window since, nor a window after these.

    Raises:
        ValueError: no limit changes.

    """
    changed = [name for name in LIMIT_NAMES if getattr(account.limits, name) != getattr(new, name)]
    if not changed:
        raise ValueError("no limit changes")
    begin = revise(account)
    update, names, values = [begin.update], {}, Item(begin.values)
    condition = [begin.condition, "(attribute_not_exists(last_used) OR last_used <= :until)"]
    values[":until"] = int(now) + max(_NEAR)
    for number, name in enumerate(changed):
        update.append(f"{name} = :new{number}")
        values |= {f":new{number}": getattr(new, name)}
    near = {window.name: window for seconds in _NEAR for window in windows_of(now + seconds)}
    for number, window in enumerate(near.values()):
        if window.limit not in changed:
            continue
        remaining = f"balance.#w{number}"
        names[f"#w{number}"] = window.name
        if window.name not in account.balance:
            condition.append(f"attribute_not_exists({remaining})")
            continue
        by = f":by{changed.index(window.limit)}"
        values[by] = getattr(new, window.limit) - getattr(account.limits, window.limit)
        condition.append(f"attribute_exists({remaining})")
        update.append(f"{remaining} = {remaining} + {by}")
    return Update(begin.key, ", ".join(update), " AND ".join(condition), names, values)
