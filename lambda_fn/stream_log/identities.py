"""Identities: items that name the response to a request, so that its repeats find it.

A repeat writes its identity after the head of its response and before the model is invoked, on the
condition that it still names what the repeat has read. So of two repeats at once one wins, and the
other learns the response of the winner. A first request writes it at the same time as the head,
whatever it names, so a new response may have no head yet. It never gets one if its log cannot be
opened.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.stream_log.keys import VERSIONED, check_version, identity_key


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """The identity of a key's request.

    `name` is unique in the key, `digest` is the SHA-256 of the request in hex. `revision` says what
    makes the response; None where it does not matter.
    """

    owner: str
    name: str
    digest: str
    revision: str | None = None

    @property
    def key(self) -> dict[str, str]:
        """The primary key of its item."""
        return identity_key(self.owner, self.name)


class Named(msgspec.Struct, frozen=True):
    """An identity's item as it was read."""

    response_id: str
    digest: str
    revision: str | None
    expires: int


def digest_of(*parts: bytes) -> str:
    """Return the SHA-256 of some parts in hex. Other parts never have the same text together."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()


async def find(table: Table, identity: Identity, *, now: float) -> Named | None:
    """Return an identity's item, read consistently, or None. `now` is in Unix seconds.

    Raises:
        UnknownVersion: a later deployment wrote it.
        MeterUnavailable: DynamoDB did not answer.

    """
    return _named(await table.get(identity.key), now=now)


async def claim(
    table: Table,
    identity: Identity,
    response_id: str,
    *,
    expires: int,
    seen: Named | None,
    now: float,
    always: bool = False,
    deadline: float | None = None,
) -> Named | None:
    """Point an identity to a response, if it still names what the caller has read.

    Args:
        table: StreamTable.
        identity: The identity.
        response_id: The response. Its head exists, unless `always` is set.
        expires: Unix seconds: the time of the response.
        seen: What the identity names, as it was read; None for nothing.
        now: Unix seconds.
        always: Whether it does not matter what the identity names.
        deadline: The time of `time.monotonic` until which the write is attempted.

    Returns:
        None if it names the response now, or what it names.

    Raises:
        UnknownVersion: a later deployment wrote it.
        MeterUnavailable: it is not known whether it was written.

    """
    item: dict[str, Any] = {
        **identity.key,
        **VERSIONED,
        "response_id": response_id,
        "digest": identity.digest,
        "expires": expires,
    }
    if identity.revision is not None:
        item["revision"] = identity.revision
    condition: str | None = "attribute_not_exists(pk) OR expires <= :now"
    values: dict[str, Any] = {":now": int(now)}
    if seen is not None:
        condition, values = (
            f"{condition} OR response_id = :seen",
            {
                **values,
                ":seen": seen.response_id,
            },
        )
    try:
        if always:
            await table.put(item, deadline=deadline)
        else:
            await table.put(item, condition=condition, values=values, deadline=deadline)
    except ConditionFailed as failed:
        standing = _named(failed.item, now=now)
        if standing is None:  # it was removed in between: the next attempt finds a free place
            return Named("", identity.digest, None, 0)
        # An own attempt whose answer was lost may have written it.
        return None if standing.response_id == response_id else standing
    return None


async def forget(table: Table, identity: Identity, response_id: str) -> None:
    """Clear an identity, if it names this response.

    Raises:
        MeterUnavailable: it is not known whether it was changed.

    """
    try:
        await table.put(
            {**identity.key, **VERSIONED, "response_id": "", "digest": "", "expires": 0},
            condition="response_id = :own",
            values={":own": response_id},
        )
    except ConditionFailed:
        return


def _named(item: Mapping[str, Any] | None, *, now: float) -> Named | None:
    if item is None or now >= item["expires"]:
        return None
    check_version(item)
    return Named(item["response_id"], item["digest"], item.get("revision"), item["expires"])
