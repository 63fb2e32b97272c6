"""Tickets: each opens one socket of a key, once, within 30 seconds.

A browser cannot send a header when it opens a socket, and a key must not be in an address. So its
page asks for a ticket over HTTPS, and sends that. A ticket names the key and the hash of its
secret, so a socket is admitted as if the key itself had been sent. The table has the hash of the
ticket only. Spending a ticket is one conditional delete, so of two sockets with the same ticket one
is opened.
"""

import hashlib
import secrets

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.stream_log.keys import VERSIONED, check_version, ticket_key

SECONDS = 30
"""How long a ticket can be spent."""
PREFIX = "wst_"
_MAX = 100


async def make_ticket(table: Table, caller: Caller, *, now: float) -> tuple[str, int]:
    """Return a new ticket of a verified caller, and the Unix second at which it expires.

    Raises:
        MeterUnavailable: DynamoDB did not answer, and there may be no such ticket.

    """
    ticket = PREFIX + secrets.token_urlsafe(32)
    expires = int(now) + SECONDS
    about = {"owner": caller.key_id, "hash": caller.key_hash, "expires": expires}
    await table.put({**ticket_key(_name(ticket)), **VERSIONED, **about})
    return ticket, expires


async def spend_ticket(table: Table, ticket: str, *, address: str, now: float) -> Caller | None:
    """Spend a ticket, and return its caller.

    Return None if there is no such ticket: it was spent, its time is over, or it never existed.

    Raises:
        UnknownVersion: a later deployment wrote it.
        MeterUnavailable: DynamoDB did not answer; the ticket may be spent.

    """
    if not ticket.startswith(PREFIX) or len(ticket) > _MAX:
        return None
    key = ticket_key(_name(ticket))
    item = await table.get(key)
    if item is None:
        return None
    check_version(item)
    # Whoever deletes it has it. The client of DynamoDB repeats a call whose answer was lost. If
    # that was the delete, the ticket is spent without a socket, and the page asks for another.
    try:
        await table.delete(
            key, condition="attribute_exists(pk) AND expires > :now", values={":now": int(now)}
        )
    except ConditionFailed:
        return None
    return Caller(key_id=item["owner"], key_hash=item["hash"], address=address)


def _name(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
