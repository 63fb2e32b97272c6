"""The account item: one for each key, found by the key's hash, changed only by plain conditional updates.

    pk        KEY#<SHA-256 of the key, hex>
    sk        ACCOUNT
    name      what its owner calls it
    prefix    the public start of the key, for display
    enabled   false refuses it
    created, last_used, expires   Unix seconds; `expires` is optional
    in_flight map of request id to the tokens reserved for it
    requests, prompt_tokens, completion_tokens   spent, of settled requests

One item is one atom: however many requests come at once, each sees what the ones before it took.
"""

import hashlib
import secrets
from typing import Any

from lambda_fn.aws.dynamodb import ConditionFailed, Table

KEY_PREFIX = "sk-"


class KeyRefused(Exception):
    """The key exists and may not be used: `reason` is `disabled` or `expired`."""

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        super().__init__(reason)
        self.reason = reason


class KeyUnknown(Exception):
    """Nobody has this key."""


def new_key() -> str:
    """Give a new key: `sk-`, eight hex digits that are public, `-`, 256 random bits in URL-safe base 64."""
    return f"{KEY_PREFIX}{secrets.token_hex(4)}-{secrets.token_urlsafe(32)}"


def hash_key(key: str) -> str:
    """Give the hex SHA-256 of a key. A key has 256 random bits, so that a slow hash would add nothing."""
    return hashlib.sha256(key.encode()).hexdigest()


def account_key(key_hash: str) -> dict[str, str]:
    """Give the primary key of a key's account item."""
    return {"pk": f"KEY#{key_hash}", "sk": "ACCOUNT"}


def new_account(key: str, *, name: str, now: int) -> dict[str, dict[str, Any]]:
    """Give the account item for a new key."""
    return {
        **{attribute: {"S": value} for attribute, value in account_key(hash_key(key)).items()},
        "name": {"S": name},
        "prefix": {"S": key[: len(KEY_PREFIX) + 8]},
        "enabled": {"BOOL": True},
        "created": {"N": str(now)},
        "in_flight": {"M": {}},
    }


async def touch(table: Table, key_hash: str, *, now: int) -> None:
    """Authenticate without a reservation, and note the use.

    Raises:
        KeyUnknown: nobody has the key.
        KeyRefused: it is disabled or expired.
        MeterUnavailable: that cannot be known now.

    """
    try:
        await table.update(
            account_key(key_hash),
            update="SET last_used = :now",
            condition=_USABLE,
            values={":now": {"N": str(now)}, ":yes": {"BOOL": True}},
        )
    except ConditionFailed as failed:
        raise _refusal(failed) from None


async def reserve(table: Table, key_hash: str, *, request_id: str, tokens: int, now: int) -> None:
    """Authenticate, and note the request as in flight with its reservation. Raises as `touch`."""
    try:
        await table.update(
            account_key(key_hash),
            update="SET last_used = :now, in_flight.#request = :tokens",
            condition=f"{_USABLE} AND attribute_not_exists(in_flight.#request)",
            names={"#request": request_id},
            values={":now": {"N": str(now)}, ":yes": {"BOOL": True}, ":tokens": {"N": str(tokens)}},
        )
    except ConditionFailed as failed:
        if failed.item is not None and request_id in failed.item["in_flight"]["M"]:
            return  # our own write, of a try whose answer was lost
        raise _refusal(failed) from None


async def release(table: Table, key_hash: str, *, request_id: str, prompt_tokens: int, completion_tokens: int) -> None:
    """Give the reservation back and book what was spent; doing it again changes nothing.

    Raises:
        MeterUnavailable: it is not known whether it was done.

    """
    try:
        await table.update(
            account_key(key_hash),
            update="REMOVE in_flight.#request ADD requests :one, prompt_tokens :prompt, completion_tokens :completion",
            condition="attribute_exists(in_flight.#request)",
            names={"#request": request_id},
            values={
                ":one": {"N": "1"},
                ":prompt": {"N": str(prompt_tokens)},
                ":completion": {"N": str(completion_tokens)},
            },
        )
    except ConditionFailed:
        return


_USABLE = "attribute_exists(pk) AND enabled = :yes AND (attribute_not_exists(expires) OR expires > :now)"


def _refusal(failed: ConditionFailed) -> KeyUnknown | KeyRefused:
    if failed.item is None:
        return KeyUnknown()
    return KeyRefused("expired" if failed.item["enabled"]["BOOL"] else "disabled")
