"""Lists the responses of a key by the index of StreamTable."""

import time
from typing import Any, NamedTuple

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Query, Table
from lambda_fn.ids import is_request_id, request_time
from lambda_fn.stream_log.keys import OWNERS_INDEX, OWNERS_INDEX_KEY, head_key

MAX_LOOKED = 1000
"""Maximum number of responses that one call reads, however few of them pass its filters."""
_ANSWERED = ("completed", "incomplete")
_EARLIER, _LATER = 5, 60
"""Seconds by which a head may be created earlier or later than the time in its id."""


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for. `after` is the id of the last response of the page before."""

    owner: str
    limit: int
    after: str | None = None
    backward: bool = True
    status: str | None = None
    model: str | None = None
    since: int = 0
    """Unix seconds; earlier responses are not in the list."""
    stored_chats: bool = False
    """Whether only stored chat completions are in it that have ended well."""
    metadata: dict[str, str] = {}  # msgspec makes a new dict for each
    """The fields that the metadata of a response must have."""


class ListPage(NamedTuple):
    """A page. `last_id` continues the list, even if no response of the page fitted."""

    items: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


class NoSuchPosition(LookupError):
    """The response after which a page should begin does not exist, or is another key's."""


async def read_page(table: Table, listing: Listing) -> ListPage:
    """Return a page of a list. What was deleted, or is over its time, is not in it.

    Raises:
        NoSuchPosition: `after` names no response of this key.
        MeterUnavailable: DynamoDB did not answer.

    """
    position = await _position(table, listing)
    query = Query(
        "#owner = :owner AND created >= :since",
        {":owner": listing.owner, ":since": listing.since},
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
        and (not listing.stored_chats or (item.get("chat", False) and item["status"] in _ANSWERED))
        and (not listing.metadata or listing.metadata.items() <= item.get("metadata", {}).items())
    )


async def _position(table: Table, listing: Listing) -> dict[str, Any] | None:
    """Return the position in the index behind which a page begins."""
    if listing.after is None:
        return None
    found = await find(table, listing.owner, listing.after)
    if found is None:
        raise NoSuchPosition(listing.after)
    return {name: found[name] for name in ("pk", "sk", *OWNERS_INDEX_KEY)}


async def find(table: Table, owner: str, name: str) -> Item | None:
    """Return what the index has of one response of a key, deleted or not; None without one.

    The head is made some time after the id, which has the time of the request.
    """
    if not is_request_id(name):
        return None
    began = int(request_time(name))
    query = Query(
        "#owner = :owner AND created BETWEEN :from AND :to",
        {":owner": owner, ":from": began - _EARLIER, ":to": began + _LATER},
        {"#owner": "owner"},
        index=OWNERS_INDEX,
    )
    key = head_key(name)["pk"]
    async for item in table.query_all(query):
        if item["pk"] == key:
            return item
    return None
