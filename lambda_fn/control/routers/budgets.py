"""The endpoints of the budgets of one key or of all, and of how much of them is spent."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lambda_fn.control import changes, models_in, models_out
from lambda_fn.control.routers.keys import apply, page_of_accounts, plain
from lambda_fn.control.services import Caller, KeyId, Shared

router = APIRouter(tags=["budgets"])


@router.get("/budgets", response_model=models_out.BudgetList, operation_id="listBudgets")
async def list_budgets(query: Annotated[models_in.ListKeys, Query()], services: Shared) -> Any:
    """List the budgets of all keys, newest key first."""
    items, after = await page_of_accounts(query, services, "budgets")
    data = [changes.budget_response(item, now=services.now()) for item in items]
    return {"data": data, "has_more": after is not None, "next": after}


@router.get(
    "/keys/{key_id}/budget",
    response_model=models_out.KeyBudget,
    responses=models_out.MISSING,
    operation_id="getBudget",
)
async def get_budget(key_id: KeyId, services: Shared) -> Any:
    """Return a key's budgets."""
    return changes.budget_response(await services.account(key_id), now=services.now())


@router.patch(
    "/keys/{key_id}/budget",
    response_model=models_out.KeyBudget,
    responses=models_out.CONTENDED,
    operation_id="updateBudget",
)
async def update_budget(
    key_id: KeyId, body: models_in.Budget, services: Shared, caller: Caller
) -> Any:
    """Change a key's budgets: those in the body change, the others stay."""
    limits = models_in.Limits.model_construct(
        body.model_fields_set, **body.model_dump(exclude_unset=True)
    )
    change = models_in.KeyUpdate.model_construct({"limits"}, limits=limits)
    async with services.trail.change(
        caller, "updateBudget", key=key_id, fields=plain(body)
    ) as record:
        return changes.budget_response(
            await apply(key_id, change, services, record), now=services.now()
        )
