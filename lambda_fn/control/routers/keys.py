"""Keys: made, listed, changed, rotated, revoked, deleted. A secret is in the answer that made it, and nowhere else."""

import secrets
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed
from lambda_fn.aws.dynamodb import Query as TableQuery
from lambda_fn.control import changes, models_in, models_out
from lambda_fn.control.services import Caller, KeyId, Services, Shared, no_key
from lambda_fn.control.trail import Change
from lambda_fn.errors import Conflict, InvalidRequest, PermissionDenied
from lambda_fn.ids import hash_key, key_id_of, new_key
from lambda_fn.metering import settlements
from lambda_fn.metering.account_changes import MAX_OLD_SECRETS, TooManySecrets
from lambda_fn.metering.accounts import Account, Limits, new_account
from lambda_fn.metering.keys import DIRECTORY, KEYS_INDEX, KEYS_INDEX_KEY, account_id

router = APIRouter(tags=["keys"])

_MAX_READ = 500
_MAX_ATTEMPTS = 5


@router.post("/keys", status_code=201, response_model=models_out.NewKey, operation_id="createKey")
async def create_key(given: models_in.KeyCreate, services: Shared, who: Caller) -> Any:
    """Make a key. Its secret is in this answer only: the table has its hash.

    With the right `keys` alone it has the default limits: to give others takes the right `all`.
    """
    check_right_to_limits(given, services)
    check_models(given.models, services)
    limits = changes.new_limits(given.limits, Limits(max_streams=services.default_max_streams))
    check_prices(limits, given.models, services)
    key = new_key()
    item = new_account(
        key,
        name=given.name,
        owner=given.owner,
        now=int(services.now()),
        limits=limits,
        expires=given.expires_at,
        models=given.models,
        networks=" ".join(given.networks or ()),
    )
    item["enabled"] = given.enabled
    async with services.trail.change(who, "createKey", key=key_id_of(key), asked=plain(given)) as made:
        try:
            await services.table.put(item, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            # Our own write, of a try whose answer was lost; 60 random bits do not meet twice.
            if failed.item is None or failed.item.get("secret_hash") != item["secret_hash"]:
                raise
        made.after = changes.facts(item)
    return {**changes.key_reply(item), "secret": key}


@router.get("/keys", response_model=models_out.KeyList, operation_id="listKeys")
async def list_keys(asked: Annotated[models_in.ListKeys, Query()], services: Shared) -> Any:
    """List keys, the newest first."""
    found, after = await page_of_accounts(asked, services, "keys")
    return {"data": [changes.key_reply(item) for item in found], "has_more": after is not None, "next": after}


@router.get("/keys/{key_id}", response_model=models_out.Key, responses=models_out.MISSING, operation_id="getKey")
async def get_key(key_id: KeyId, services: Shared) -> Any:
    """Show one key."""
    return changes.key_reply(await services.account(key_id))


@router.patch("/keys/{key_id}", response_model=models_out.Key, responses=models_out.CONTENDED, operation_id="updateKey")
async def update_key(key_id: KeyId, given: models_in.KeyUpdate, services: Shared, who: Caller) -> Any:
    """Change a key. What a limit is changed by is given to, or taken from, what is left in the windows that run.

    With the right `keys` alone limits stay as they are: to change them takes the right `all`.
    """
    check_right_to_limits(given, services)
    for field in ("name", "owner", "enabled", "limits"):
        if field in given.model_fields_set and getattr(given, field) is None:
            raise InvalidRequest(f"'{field}' must not be null.", param=field)
    check_models(given.models, services)
    async with services.trail.change(who, "updateKey", key=key_id, asked=plain(given)) as made:
        return changes.key_reply(await apply(key_id, given, services, made))


@router.post(
    "/keys/{key_id}/rotate", response_model=models_out.NewKey, responses=models_out.CONTENDED, operation_id="rotateKey"
)
async def rotate_key(key_id: KeyId, given: models_in.KeyRotate, services: Shared, who: Caller) -> Any:
    """Give a key another secret; id, limits, budget and usage stay. Every older secret keeps the time that it was
    promised, unless none is given to this one.
    """
    key = new_key(key_id)
    async with services.trail.change(who, "rotateKey", key=key_id, asked=plain(given)) as made:
        for _ in range(_MAX_ATTEMPTS):
            before = await services.account(key_id)
            try:
                update = changes.rotate(before, hash_key(key), now=int(services.now()), grace=given.grace_seconds)
                after = await services.table.update(update, return_item=True)
            except TooManySecrets:
                text = f"{MAX_OLD_SECRETS} older secrets of the key are good still. Wait, or end them by 'grace_seconds': 0."
                raise Conflict(text, code="rotation_in_grace") from None
            except ConditionFailed as failed:
                if failed.item is None or failed.item.get("secret_hash") != hash_key(key):
                    continue
                after = failed.item  # our own write, of a try whose answer was lost
            made.before, made.after = changes.difference(before, after)
            return {**changes.key_reply(after), "secret": key}
        raise _contended()


@router.post(
    "/keys/{key_id}/revoke", response_model=models_out.Revoked, responses=models_out.CONTENDED, operation_id="revokeKey"
)
async def revoke_key(key_id: KeyId, services: Shared, who: Caller) -> Any:
    """Revoke a key that got about: disable it, take all of its secrets away, and end what runs with it.

    A rotation gives it another secret; id, limits, budget and usage stay. Doing it again ends what a failure left
    running.
    """
    async with services.trail.change(who, "revokeKey", key=key_id) as made:
        for _ in range(_MAX_ATTEMPTS):
            before = await services.account(key_id)
            try:
                update = changes.revoke(Account.of(before), now=int(services.now()))
                after = await services.table.update(update, return_item=True)
            except ConditionFailed:
                continue
            made.before, made.after = changes.difference(before, after)
            cancelled = len(await settlements.cancel_all(services.table, key_id, now=services.now()))
            made.after["cancelled"] = cancelled
            return {**changes.key_reply(after), "cancelled": cancelled}
        raise _contended()


@router.delete(
    "/keys/{key_id}", response_model=models_out.Deleted, responses=models_out.MISSING, operation_id="deleteKey"
)
async def delete_key(key_id: KeyId, services: Shared, who: Caller) -> Any:
    """Delete a key for ever. What runs with it goes on and is settled; its usage stays in ledger and reports."""
    token = secrets.token_hex(8)
    async with services.trail.change(who, "deleteKey", key=key_id) as made:
        made.before = changes.facts(await services.account(key_id))
        try:
            await services.table.update(changes.delete(key_id, now=int(services.now()), token=token))
        except ConditionFailed as failed:
            if failed.item is None or failed.item.get("deletion") != token:
                raise no_key() from None  # else it is our own write, of a try whose answer was lost
    return {"id": key_id}


async def apply(key_id: str, given: models_in.KeyUpdate, services: Services, made: Change) -> Item:
    """Make a change, again when another change came between, and note what it came to.

    Raises:
        NotFound: there is no such key.
        InvalidRequest: as `check_prices`.
        Conflict: others keep changing it.

    """
    for _ in range(_MAX_ATTEMPTS):
        before = await services.account(key_id)
        account = Account.of(before)
        if changes.concerns_prices(given):
            models = given.models if "models" in given.model_fields_set else account.models
            check_prices(changes.new_limits(given.limits or models_in.Limits(), account.limits), models, services)
        update = changes.change(account, given, now=services.now())
        if update is None:
            return before
        try:
            after = await services.table.update(update, return_item=True)
        except ConditionFailed:
            continue
        made.before, made.after = changes.difference(before, after)
        return after
    raise _contended()


def plain(given: BaseModel) -> dict[str, Any]:
    """Return the fields of a request that were given, as JSON has them."""
    return given.model_dump(mode="json", exclude_unset=True)


def _contended() -> Conflict:
    return Conflict("The key is being changed by others. Try again.", code="key_contended")


async def page_of_accounts(asked: models_in.ListKeys, services: Services, what: str) -> tuple[list[Item], str | None]:
    """Give a page of accounts and the token of the next one."""
    query = {"list": what, "owner": asked.owner}
    position = await services.position(query, asked.after)
    listed = TableQuery(
        "directory = :keys", {":keys": DIRECTORY}, index=KEYS_INDEX, backward=True, limit=asked.limit + 1
    )
    found: list[Item] = []
    looked = 0
    while True:
        page = await services.table.query(listed, after=position)
        alive = {it["pk"]: it for it in await services.accounts([account_id(it["pk"]) for it in page.items])}
        for key in page.items:
            item = alive.get(key["pk"])
            if item is not None and asked.owner in {None, item["owner"]}:
                if len(found) == asked.limit:
                    return found, await services.token(query, position)
                found.append(item)
            position = {name: key[name] for name in KEYS_INDEX_KEY}
        looked += len(page.items)
        if page.after is None:
            return found, None
        if looked >= _MAX_READ:  # others' keys, and deleted ones: the next page goes on behind them
            return found, await services.token(query, position)


def check_right_to_limits(given: models_in.KeyCreate | models_in.KeyUpdate, services: Services) -> None:
    """Refuse limits from a caller who may not set them: whoever makes keys would decide what is spent.

    Raises:
        PermissionDenied: it names the right that may.

    """
    if services.right != "all" and "limits" in given.model_fields_set:
        text = (
            f"The right '{services.right}' does not set limits. Leave 'limits' out: a key keeps its own, a new one has "
        )
        advice = "the defaults. The right 'all' sets limits, the right 'budgets' those of day and month."
        raise PermissionDenied(text + advice, param="limits", code="right_missing")


def check_prices(limits: Limits, models: Sequence[str] | None, services: Services) -> None:
    """Refuse a budget of cost where a model that the key may use has no price: it would not hold.

    Raises:
        InvalidRequest: it names the models.

    """
    unpriced = [name for name in services.unpriced if models is None or name in models]
    if limits.budgets_cost and unpriced:
        text = f"A budget of cost needs models with prices, and these have none: {', '.join(unpriced)}. Deploy with "
        advice = "'prompt_price' and 'completion_price' (0 is a price), or let the key use other 'models' only."
        raise InvalidRequest(text + advice, param="models", code="model_without_price")


def check_models(names: list[str] | None, services: Services) -> None:
    """Refuse models that are not deployed: a slip here would be a key that can do nothing.

    Raises:
        InvalidRequest: it names one.

    """
    for place, name in enumerate(names or ()):
        if name not in services.model_names:
            known = ", ".join(services.model_names)
            raise InvalidRequest(f"There is no model '{name}'. There are: {known}.", param=f"models.{place}")
