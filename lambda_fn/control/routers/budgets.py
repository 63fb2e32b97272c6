"""Budgets: those of one key, or of all, and how much of them is spent in the day and the month that run."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from lambda_fn.control import changes, models_in, models_out
from lambda_fn.control.routers.keys import apply, page_of_accounts, plain
from lambda_fn.control.services import Caller, KeyId, Shared

router = APIRouter(tags=["budgets"])


@router.get("/budgets", response_model=models_out.BudgetList, operation_id="listBudgets")
async def list_budgets(asked: Annotated[models_in.ListKeys, Query()], services: Shared) -> Any:
    """List the budgets of all keys, the newest key first."""
    found, after = await page_of_accounts(asked, services, "budgets")
    data = [changes.budget_reply(item, now=services.now()) for item in found]
    return {"data": data, "has_more": after is not None, "next": after}


@router.get(
    "/keys/{key_id}/budget", response_model=models_out.KeyBudget, responses=models_out.MISSING, operation_id="getBudget"
)
async def get_budget(key_id: KeyId, services: Shared) -> Any:
    """Show a key's budgets."""
    return changes.budget_reply(await services.account(key_id), now=services.now())


@router.patch(
    "/keys/{key_id}/budget",
    response_model=models_out.KeyBudget,
    responses=models_out.CONTENDED,
    operation_id="updateBudget",
)
async def update_budget(key_id: KeyId, given: models_in.Budget, services: Shared, who: Caller) -> Any:
    """Change a key's budgets: what is given changes, the rest stays."""
    limits = models_in.Limits.model_construct(given.model_fields_set, **given.model_dump(exclude_unset=True))
    change = models_in.KeyUpdate.model_construct({"limits"}, limits=limits)
    async with services.trail.change(who, "updateBudget", key=key_id, asked=plain(given)) as made:
        return changes.budget_reply(await apply(key_id, change, services, made), now=services.now())
