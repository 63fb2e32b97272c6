"""What an admin changes of an account: its secret and its limits.

Each change has the condition that no other one was made since the account was read, `revision`. So a try that is
carried out late cannot undo a later change: it cannot bring back a secret that was replaced, or a limit that was
lowered.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Update
from lambda_fn.metering.accounts import LIMIT_NAMES, Account, Limits
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.windows import windows_of

OLD_MOST = 4
"""The most secrets of a key that are in their grace time at once."""
_NEAR = range(-120, 121, 60)


class TooManySecrets(Exception):
    """So many older secrets of the key are good still that it can have no other."""


def revise(account: Account) -> Update:
    """Give the beginning of each change: its number, and the condition that the account is as it was read."""
    was, values = account.revision, {":next": account.revision + 1}
    condition = "attribute_exists(pk) AND attribute_not_exists(revision)"
    if was:
        condition, values = "revision = :revision", {**values, ":revision": was}
    return Update(account_key(account.key_id), "SET revision = :next", condition, {}, values)


def rotate(item: Mapping[str, Any], new_hash: str, *, now: int, grace: int) -> Update:
    """Give a key another secret. The one until now is good for `grace` more seconds, and older ones as long as was
    promised; without grace all end at once.

    So a rotation whose answer was lost may be made again: the secret that is in use keeps its time.

    Raises:
        TooManySecrets: wait, or rotate without grace.

    """
    update = revise(Account.of(item))
    old = {known: until for known, until in item.get("old_secrets", {}).items() if grace and until > now}
    if len(old) >= OLD_MOST:
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
    """Take all of a key's secrets away, and disable it: enabled again it is of no use before it is given another."""
    update = revise(account)
    return msgspec.structs.replace(
        update,
        update=f"{update.update}, enabled = :no, secret_hash = :none, revoked = :now REMOVE old_secrets",
        values={**update.values, ":no": False, ":none": "", ":now": now},
    )


def change_limits(account: Account, new: Limits, *, now: float) -> Update:
    """Set limits, and give what is left in the windows that run the difference.

    Also in those that ended, or begin, within two minutes, so that clocks may differ and the write may take its time. A
    window that no request has opened yet gets nothing, on condition that this is still so.
    """
    changed = [name for name in LIMIT_NAMES if getattr(account.limits, name) != getattr(new, name)]
    if not changed:
        raise ValueError("no limit changes")
    begin = revise(account)
    update, condition, names, values = [begin.update], [begin.condition], {}, Item(begin.values)
    for number, name in enumerate(changed):
        update.append(f"{name} = :new{number}")
        values |= {f":new{number}": getattr(new, name)}
    near = {window.name: window for seconds in _NEAR for window in windows_of(now + seconds)}
    for number, window in enumerate(near.values()):
        if window.limit not in changed:
            continue
        left = f"balance.#w{number}"
        names[f"#w{number}"] = window.name
        if window.name not in account.balance:
            condition.append(f"attribute_not_exists({left})")
            continue
        by = f":by{changed.index(window.limit)}"
        values[by] = getattr(new, window.limit) - getattr(account.limits, window.limit)
        condition.append(f"attribute_exists({left})")
        update.append(f"{left} = {left} + {by}")
    return Update(begin.key, ", ".join(update), " AND ".join(condition), names, values)
