"""The endpoints that create, list, change, rotate, revoke and delete keys.

A secret is only in the response to the request that made it.
"""

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
from lambda_fn.stream_log.keys import VERSIONED as STREAM_VERSION
from lambda_fn.stream_log.keys import erasure_key

router = APIRouter(tags=["keys"])

_MAX_READ = 500
"""The maximum number of accounts that one page reads."""
_MAX_ATTEMPTS = 5


@router.post("/keys", status_code=201, response_model=models_out.NewKey, operation_id="createKey")
async def create_key(body: models_in.KeyCreate, services: Shared, caller: Caller) -> Any:
    """Create a key. Its secret is in this response only: the table has its hash.

    With the right `keys` alone the key has the default limits; setting others takes the right
    `all`.
    """
    check_right_to_limits(body, services)
    check_models(body.models, services)
    limits = changes.new_limits(body.limits, Limits(max_streams=services.default_max_streams))
    check_prices(limits, body.models, services)
    key = new_key()
    item = new_account(
        key,
        name=body.name,
        owner=body.owner,
        now=int(services.now()),
        limits=limits,
        expires=body.expires_at,
        models=body.models,
        networks=" ".join(body.networks or ()),
        redact=body.redact or (),
        moderate=body.moderate,
    )
    item["enabled"] = body.enabled
    async with services.trail.change(
        caller, "createKey", key=key_id_of(key), fields=plain(body)
    ) as record:
        try:
            await services.table.put(item, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            # The item is our own write, whose response was lost: 60 random bits do not repeat.
            if failed.item is None or failed.item.get("secret_hash") != item["secret_hash"]:
                raise
        record.after = changes.audited_fields(item)
    return {**changes.key_response(item), "secret": key}


@router.get("/keys", response_model=models_out.KeyList, operation_id="listKeys")
async def list_keys(query: Annotated[models_in.ListKeys, Query()], services: Shared) -> Any:
    """List keys, newest first."""
    items, after = await page_of_accounts(query, services, "keys")
    return {
        "data": [changes.key_response(item) for item in items],
        "has_more": after is not None,
        "next": after,
    }


@router.get(
    "/keys/{key_id}",
    response_model=models_out.Key,
    responses=models_out.MISSING,
    operation_id="getKey",
)
async def get_key(key_id: KeyId, services: Shared) -> Any:
    """Return a key."""
    return changes.key_response(await services.account(key_id))


@router.patch(
    "/keys/{key_id}",
    response_model=models_out.Key,
    responses=models_out.CONTENDED,
    operation_id="updateKey",
)
async def update_key(
    key_id: KeyId, body: models_in.KeyUpdate, services: Shared, caller: Caller
) -> Any:
    """Change a key. If a limit changes, the difference is added to what is left in the current
    windows.

    With the right `keys` alone limits cannot be changed; that takes the right `all`.
    """
    check_right_to_limits(body, services)
    for field in ("name", "owner", "enabled", "limits"):
        if field in body.model_fields_set and getattr(body, field) is None:
            raise InvalidRequest(f"'{field}' must not be null.", param=field)
    check_models(body.models, services)
    async with services.trail.change(caller, "updateKey", key=key_id, fields=plain(body)) as record:
        return changes.key_response(await apply(key_id, body, services, record))


@router.post(
    "/keys/{key_id}/rotate",
    response_model=models_out.NewKey,
    responses=models_out.CONTENDED,
    operation_id="rotateKey",
)
async def rotate_key(
    key_id: KeyId, body: models_in.KeyRotate, services: Shared, caller: Caller
) -> Any:
    """Replace a key's secret; id, limits, budget and usage stay.

    Older secrets stay valid as long as they were promised, unless `grace_seconds` is 0.
    """
    key = new_key(key_id)
    async with services.trail.change(caller, "rotateKey", key=key_id, fields=plain(body)) as record:
        for _ in range(_MAX_ATTEMPTS):
            before = await services.account(key_id)
            try:
                update = changes.rotate(
                    before, hash_key(key), now=int(services.now()), grace=body.grace_seconds
                )
                after = await services.table.update(update, return_item=True)
            except TooManySecrets:
                text = f"{MAX_OLD_SECRETS} older secrets of the key are still valid."
                advice = "Wait until one expires, or end all of them with 'grace_seconds': 0."
                raise Conflict(f"{text} {advice}", code="rotation_in_grace") from None
            except ConditionFailed as failed:
                if failed.item is None or failed.item.get("secret_hash") != hash_key(key):
                    continue
                after = failed.item  # our own write, whose response was lost
            record.before, record.after = changes.difference(before, after)
            return {**changes.key_response(after), "secret": key}
        raise _contended()


@router.post(
    "/keys/{key_id}/revoke",
    response_model=models_out.Revoked,
    responses=models_out.CONTENDED,
    operation_id="revokeKey",
)
async def revoke_key(key_id: KeyId, services: Shared, caller: Caller) -> Any:
    """Revoke a leaked key: disable it, remove all of its secrets, and end its running requests.

    A rotation gives it a new secret; id, limits, budget and usage stay. Repeat it after a failure,
    to end what is still running.
    """
    async with services.trail.change(caller, "revokeKey", key=key_id) as record:
        for _ in range(_MAX_ATTEMPTS):
            before = await services.account(key_id)
            try:
                update = changes.revoke(Account.of(before), now=int(services.now()))
                after = await services.table.update(update, return_item=True)
            except ConditionFailed:
                continue
            record.before, record.after = changes.difference(before, after)
            cancelled = len(
                await settlements.cancel_all(services.table, key_id, now=services.now())
            )
            record.after["cancelled"] = cancelled
            return {**changes.key_response(after), "cancelled": cancelled}
        raise _contended()


@router.delete(
    "/keys/{key_id}",
    response_model=models_out.Deleted,
    responses=models_out.MISSING,
    operation_id="deleteKey",
)
async def delete_key(
    key_id: KeyId,
    services: Shared,
    caller: Caller,
    *,
    keep_answers: Annotated[
        bool, Query(description="Whether what the key has stored is kept until it expires.")
    ] = False,
) -> Any:
    """Delete a key for ever. Its running requests continue and are settled; its usage stays in
    ledger and reports.

    What it has stored is deleted, too: responses, chat completions and conversations. The sweeper
    does that, in some minutes to an hour.
    """
    token = secrets.token_hex(8)
    erases = services.streams is not None and not keep_answers
    async with services.trail.change(
        caller, "deleteKey", key=key_id, fields={"keep_answers": keep_answers}
    ) as record:
        record.before = changes.audited_fields(await services.account(key_id))
        now = int(services.now())
        if services.streams is not None and erases:
            # Put first: the sweeper erases nothing of a key that exists.
            await services.streams.put({**erasure_key(key_id), **STREAM_VERSION, "at": now})
        try:
            await services.table.update(changes.delete(key_id, now=now, token=token))
        except ConditionFailed as failed:
            if failed.item is None or failed.item.get("deletion") != token:
                raise no_key() from None  # otherwise it is our own write, whose response was lost
    return {"id": key_id, "answers": "deleting" if erases else "kept"}


async def apply(key_id: str, body: models_in.KeyUpdate, services: Services, record: Change) -> Item:
    """Make a change and record its result. If another change came in between, try again.

    Raises:
        NotFound: there is no such key.
        InvalidRequest: as `check_prices`.
        Conflict: other requests keep changing the key.

    """
    for _ in range(_MAX_ATTEMPTS):
        before = await services.account(key_id)
        account = Account.of(before)
        if changes.concerns_prices(body):
            models = body.models if "models" in body.model_fields_set else account.models
            check_prices(
                changes.new_limits(body.limits or models_in.Limits(), account.limits),
                models,
                services,
            )
        update = changes.change(account, body, now=services.now())
        if update is None:
            return before
        try:
            after = await services.table.update(update, return_item=True)
        except ConditionFailed:
            continue
        record.before, record.after = changes.difference(before, after)
        return after
    raise _contended()


def plain(body: BaseModel) -> dict[str, Any]:
    """Return the fields that a request has, as JSON values."""
    return body.model_dump(mode="json", exclude_unset=True)


def _contended() -> Conflict:
    return Conflict("Other requests are changing the key. Try again.", code="key_contended")


async def page_of_accounts(
    query: models_in.ListKeys, services: Services, listing: str
) -> tuple[list[Item], str | None]:
    """Return a page of accounts and the token of the next one."""
    bound = {"list": listing, "owner": query.owner}
    position = await services.position(bound, query.after)
    listed = TableQuery(
        "directory = :keys",
        {":keys": DIRECTORY},
        index=KEYS_INDEX,
        backward=True,
        limit=query.limit + 1,
    )
    items: list[Item] = []
    read_count = 0
    while True:
        page = await services.table.query(listed, after=position)
        alive = {
            it["pk"]: it
            for it in await services.accounts([account_id(it["pk"]) for it in page.items])
        }
        for key in page.items:
            item = alive.get(key["pk"])
            if item is not None and query.owner in {None, item["owner"]}:
                if len(items) == query.limit:
                    return items, await services.token(bound, position)
                items.append(item)
            position = {name: key[name] for name in KEYS_INDEX_KEY}
        read_count += len(page.items)
        if page.after is None:
            return items, None
        if read_count >= _MAX_READ:
            # Keys of other owners and deleted keys were skipped. The next page starts after them.
            return items, await services.token(bound, position)


def check_right_to_limits(
    body: models_in.KeyCreate | models_in.KeyUpdate, services: Services
) -> None:
    """Refuse limits from a caller who may not set them, because limits decide what is spent.

    Raises:
        PermissionDenied: its message names the right that may.

    """
    if services.right != "all" and "limits" in body.model_fields_set:
        text = f"The right '{services.right}' does not include setting limits. Leave 'limits' out: "
        advice = (
            "an existing key keeps its limits, and a new key has the defaults. "
            "The right 'all' includes all limits, and 'budgets' those of a day and a month."
        )
        raise PermissionDenied(text + advice, param="limits", code="right_missing")


def check_prices(limits: Limits, models: Sequence[str] | None, services: Services) -> None:
    """Refuse a budget of cost if a model that the key may use has no price.

    Raises:
        InvalidRequest: its message names the models.

    """
    unpriced = [name for name in services.unpriced if models is None or name in models]
    if limits.budgets_cost and unpriced:
        names = ", ".join(unpriced)
        text = f"A budget of cost needs models with prices, and these have none: {names}. "
        prices = "'prompt_price' and 'completion_price' (0 is valid)"
        advice = f"Deploy with {prices}, or let the key use other 'models' only."
        raise InvalidRequest(text + advice, param="models", code="model_without_price")


def check_models(names: list[str] | None, services: Services) -> None:
    """Refuse models that are not deployed: with a misspelt name the key could do nothing.

    Raises:
        InvalidRequest: its message names the model.

    """
    for place, name in enumerate(names or ()):
        if name not in services.model_names:
            deployed = ", ".join(services.model_names)
            raise InvalidRequest(
                f"There is no model '{name}'. There are: {deployed}.", param=f"models.{place}"
            )
