"""The updates that the admin API makes to account items, and the items in its responses.

A deleted key keeps its item, without secrets and with `deleted`: its running requests settle, its
usage stays, and accounts and ledger can still be compared. For every caller it is an unknown key.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Update
from lambda_fn.control import models_in
from lambda_fn.metering import account_changes
from lambda_fn.metering.accounts import LIMIT_NAMES, MAX_STREAMS, Account, Limits
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.money import from_decimal, to_text
from lambda_fn.metering.public_limits import PUBLIC, limits_of, windows
from lambda_fn.metering.windows import UNLIMITED

ALIVE = "attribute_exists(pk) AND attribute_not_exists(deleted)"


def new_limits(body: models_in.Budget, old: Limits) -> Limits:
    """Return `old`, changed by the limits in a body."""
    changes = {}
    for name in LIMIT_NAMES:
        public = PUBLIC[name]
        if public in body.model_fields_set:
            value = getattr(body, public)
            if value is None:
                changes[name] = MAX_STREAMS if name == "max_streams" else UNLIMITED
            else:
                changes[name] = from_decimal(value) if name.startswith("cost") else value
    return msgspec.structs.replace(old, **changes)


def concerns_prices(body: models_in.KeyUpdate) -> bool:
    """Return whether a change affects a key's budgets of cost, or its models."""
    limits = set() if body.limits is None else body.limits.model_fields_set
    return bool(limits & {"cost_per_day", "cost_per_month"}) or "models" in body.model_fields_set


def change(account: Account, body: models_in.KeyUpdate, *, now: float) -> Update | None:
    """Return the update that makes a whole change, or None if nothing changes.

    Its condition is that the account was not changed since it was read.
    """
    limits = new_limits(body.limits, account.limits) if body.limits is not None else account.limits
    same_limits = limits == account.limits
    update = (
        account_changes.revise(account)
        if same_limits
        else account_changes.change_limits(account, limits, now=now)
    )
    names, values = dict(update.names), dict(update.values)
    sets, removes = [update.update], []
    for field, attribute in (
        ("name", "name"),
        ("owner", "owner"),
        ("enabled", "enabled"),
        ("expires_at", "expires"),
        ("models", "models"),
        ("networks", "networks"),
        ("redact", "redact"),
        ("moderate", "moderate"),
    ):
        if field not in body.model_fields_set:
            continue
        names[f"#{attribute}"] = attribute
        value = getattr(body, field)
        if value is None:
            removes.append(f"#{attribute}")
        else:
            sets.append(f"#{attribute} = :{attribute}")
            values[f":{attribute}"] = " ".join(value) if field == "networks" else value
    if same_limits and len(sets) == 1 and not removes:
        return None
    text = ", ".join(sets) + (" REMOVE " + ", ".join(removes) if removes else "")
    return Update(update.key, text, f"{update.condition} AND {ALIVE}", names, values)


def rotate(item: Item, new_hash: str, *, now: int, grace: int) -> Update:
    """Return the update that replaces the secret of a key, unless the key was deleted.

    Raises TooManySecrets.
    """
    update = account_changes.rotate(item, new_hash, now=now, grace=grace)
    return msgspec.structs.replace(update, condition=f"{update.condition} AND {ALIVE}")


def revoke(account: Account, *, now: int) -> Update:
    """Return the update that removes the secrets of a key, unless the key was deleted."""
    update = account_changes.revoke(account, now=now)
    return msgspec.structs.replace(update, condition=f"{update.condition} AND {ALIVE}")


def delete(key_id: str, *, now: int, token: str) -> Update:
    """Return the update that deletes a key. `token` distinguishes this deletion from others."""
    deleted = "deleted = :now, deletion = :token, enabled = :no, secret_hash = :none"
    return Update(
        account_key(key_id),
        update=f"SET {deleted} REMOVE old_secrets",
        condition=ALIVE,
        values={":now": now, ":token": token, ":no": False, ":none": ""},
    )


def key_response(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return an account as the API shows it."""
    account = Account.of(item)
    now = time.time()
    expired = account.expires is not None and account.expires <= now
    status = (
        "revoked"
        if account.revoked
        else "disabled"
        if not account.enabled
        else "expired"
        if expired
        else "active"
    )
    old = (
        account.old_expires
        if account.old_expires is not None and account.old_expires > now
        else None
    )
    return {
        "id": account.key_id,
        "prefix": f"sk-{account.key_id}",
        "name": account.name,
        "owner": account.owner,
        "created_at": account.created,
        "last_used_at": account.last_used,
        "expires_at": account.expires,
        "status": status,
        "enabled": account.enabled,
        "models": None if account.models is None else list(account.models),
        "networks": account.networks.split() or None,
        "redact": list(account.filters.redact) or None,
        "moderate": "block" if account.filters.blocks else None,
        "limits": limits_of(account),
        "in_flight": len(account.in_flight),
        "totals": {
            "requests": account.requests,
            "prompt_tokens": account.prompt_tokens,
            "completion_tokens": account.completion_tokens,
            "cost": to_text(account.cost),
        },
        "old_secret_expires_at": old,
    }


def audited_fields(item: Item) -> dict[str, Any]:
    """Return the fields of an account for the audit trail.

    They are all fields that an admin can change, and no secret.
    """
    response = key_response(item)
    names = (
        "name",
        "owner",
        "expires_at",
        "enabled",
        "models",
        "networks",
        "redact",
        "moderate",
        "old_secret_expires_at",
        "status",
    )
    return {
        **{name: response[name] for name in names},
        **{f"limits.{name}": limit for name, limit in response["limits"].items()},
    }


def difference(before: Item, after: Item) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the `audited_fields` in which two states of an account differ, before and after."""
    old, new = audited_fields(before), audited_fields(after)
    changed = [name for name in old if old[name] != new[name]]
    return {name: old[name] for name in changed}, {name: new[name] for name in changed}


def budget_response(item: Item, *, now: float) -> dict[str, Any]:
    """Return an account's budgets as the API shows them."""
    account = Account.of(item)
    budgets = {
        name: it for name, it in windows(account, now=now).items() if not name.endswith("minute")
    }
    return {"key": account.key_id, "name": account.name, **budgets}
