"""The services that all endpoints share, and how FastAPI passes them to the endpoints."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.control.rights import Right
from lambda_fn.control.trail import Identity, Trail
from lambda_fn.errors import NotFound, Unavailable
from lambda_fn.http.page_tokens import Pages
from lambda_fn.metering.accounts import MAX_STREAMS
from lambda_fn.metering.keys import PAGES_KEY, VERSIONED, account_key

SECONDS = 45.0
"""Seconds for one call, below the function's timeout."""

T = TypeVar("T")

IDENTITY = "sluice.identity"
"""The name of the caller (`Identity`) in the ASGI scope."""

KeyId = Annotated[str, Path(pattern="^[a-z2-7]{12}$", description="The key's public id.")]


@dataclass
class Services:
    """The table, the models, the limits of a new key, and a clock."""

    table: Table
    model_names: tuple[str, ...]
    unpriced: tuple[str, ...] = ()
    """The models that have no price."""
    default_max_streams: int = MAX_STREAMS
    now: Callable[[], float] = time.time
    right: Right = "all"
    """The right of this function's callers."""
    audit_days: int = 400
    streams: Table | None = None
    """StreamTable; None if no responses are kept, or the right does not see them."""
    _pages: Pages | None = None

    def __post_init__(self) -> None:
        """Create the trail."""
        # The clock is looked up at each call, because tests change it.
        self.trail = Trail(self.table, days=self.audit_days, now=lambda: self.now())

    async def token(self, query: Mapping[str, Any], position: Any) -> str:
        """Return a page token."""
        return (await self._tokens()).token(query, position)

    async def position(self, query: Mapping[str, Any], token: str | None) -> Any:
        """Return the position of a page token, or None without one. Raises InvalidRequest."""
        return None if token is None else (await self._tokens()).position(query, token)

    async def _tokens(self) -> Pages:
        if self._pages is None:
            item = await self.table.get(PAGES_KEY)
            if item is None:
                item = {**PAGES_KEY, **VERSIONED, "secret": secrets.token_hex(32)}
                try:
                    await self.table.put(item, condition="attribute_not_exists(pk)")
                except ConditionFailed as failed:
                    item = failed.item or item
            self._pages = Pages(bytes.fromhex(item["secret"]))
        return self._pages

    async def account(self, key_id: str) -> Item:
        """Read an account.

        Raises:
            NotFound: there is no such key, or it was deleted.

        """
        item = await self.table.get(account_key(key_id))
        if item is None or "deleted" in item:
            raise no_key()
        return item

    async def accounts(self, key_ids: list[str]) -> list[Item]:
        """Read accounts concurrently. Deleted ones are left out."""
        items = await asyncio.gather(*(self.table.get(account_key(key_id)) for key_id in key_ids))
        return [item for item in items if item is not None and "deleted" not in item]


async def in_time(work: Awaitable[T]) -> T:
    """Await work for at most `SECONDS`.

    Raises:
        Unavailable: it takes longer.

    """
    try:
        async with asyncio.timeout(SECONDS):
            return await work
    except TimeoutError:
        message = (
            f"This takes over {SECONDS:g} s. Request fewer hours at once, or reconcile in parts."
        )
        raise Unavailable(message, code="too_much_at_once") from None


def no_key() -> NotFound:
    """Return the error for an unknown key, and for a deleted one."""
    return NotFound("There is no such key.", param="key_id", code="key_not_found")


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Shared = Annotated[Services, Depends(_services)]


def _identity(request: Request) -> Identity:
    caller: Identity = request.scope[IDENTITY]
    return caller


Caller = Annotated[Identity, Depends(_identity)]
