"""Lists the responses of a key by the index of StreamTable."""

import time
from typing import Any, NamedTuple

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import MeterUnavailable, Query, Table
from lambda_fn.errors import InvalidRequest
from lambda_fn.recall.stored import id_of, public_error
from lambda_fn.stream_log.keys import OWNERS_INDEX, head_key

MAX_LOOKED = 1000
"""Maximum number of responses that one call looks at, whatever it filters."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for. `after` is the id of the last response of the page before."""

    owner: str
    limit: int
    after: str | None = None
    backward: bool = True
    status: str | None = None
    model: str | None = None


class ListPage(NamedTuple):
    """A page. `last_id` continues the list, even if no response of the page fitted."""

    items: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


async def read_page(table: Table, listing: Listing) -> ListPage:
    """Return a page of a list. What was deleted, or is over its time, is not in it.

    Raises:
        InvalidRequest: `after` names no response of this key.
        Unavailable: DynamoDB does not answer.

    """
    try:
        return await _read_page(table, listing)
    except MeterUnavailable as error:
        raise public_error(error, "list") from None


async def _read_page(table: Table, listing: Listing) -> ListPage:
    position = await _position(table, listing)
    query = Query(
        "#owner = :owner",
        {":owner": listing.owner},
        {"#owner": "owner"},
        index=OWNERS_INDEX,
        backward=listing.backward,
        limit=max(listing.limit + 1, 100),
    )
    found: list[Item] = []
    looked, last = 0, None
    while True:
        page = await table.query(query, after=position)
        for item in page.items:
            if len(found) == listing.limit:
                return _page(found, found[-1], has_more=True)
            looked, last = looked + 1, item
            if _fits(item, listing):
                found.append(item)
            if looked == MAX_LOOKED:
                return _page(found, item, has_more=True)
        if page.after is None:
            return _page(found, last, has_more=False)
        position = page.after


def _page(found: list[Item], last: Item | None, *, has_more: bool) -> ListPage:
    return ListPage(
        found, _id(found[0]) if found else None, None if last is None else _id(last), has_more
    )


def _id(item: Item) -> str:
    return str(item["pk"]).removeprefix("R#")


def _fits(item: Item, listing: Listing) -> bool:
    return (
        "deleted" not in item
        and item["expires"] > time.time()
        and listing.status in {None, item["status"]}
        and listing.model in {None, item["model"]}
    )


async def _position(table: Table, listing: Listing) -> dict[str, Any] | None:
    """Return the position in the index behind which a page begins."""
    if listing.after is None:
        return None
    name = id_of(listing.after)
    item = None if name is None else await table.get(head_key(name), consistent=False)
    if name is None or item is None or item["owner"] != listing.owner:
        raise InvalidRequest(
            "'after' must be the 'last_id' of the page before, and that response still there. "
            "Begin the list again.",
            param="after",
        )
    return {**head_key(name), "owner": listing.owner, "created": item["created"]}
