"""What the admin API answers: the models that its document is made from. Money is decimal text, in currency units."""

from typing import Any, Literal

from pydantic import BaseModel, Field

_UTC = "Unix seconds."


class KeyLimits(BaseModel):
    """A key's limits; null is none."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_streams: int
    tokens_per_day: int | None
    tokens_per_month: int | None
    cost_per_day: str | None
    cost_per_month: str | None


class Totals(BaseModel):
    """All that a key ever used, of requests that are settled."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: str


class Key(BaseModel):
    """A key, without its secret."""

    object: Literal["key"] = "key"
    id: str = Field(description="Public; the middle of the key.")
    prefix: str = Field(description="The public start of the key, for display.")
    name: str
    owner: str
    created_at: int = Field(description=_UTC)
    last_used_at: int | None = Field(description=_UTC)
    expires_at: int | None = Field(description=_UTC)
    status: Literal["active", "disabled", "expired", "revoked"]
    enabled: bool
    models: list[str] | None = Field(description="null is all.")
    networks: list[str] | None = Field(description="It may be used from these; null is everywhere.")
    limits: KeyLimits
    in_flight: int = Field(description="Requests that run now.")
    totals: Totals
    old_secret_expires_at: int | None = Field(description="The secret before the last rotation is good until then.")


class NewKey(Key):
    """A key with its secret, which is shown this once and kept nowhere."""

    secret: str = Field(description="The whole key, for `Authorization: Bearer`.")


class KeyList(BaseModel):
    """A page of keys."""

    object: Literal["list"] = "list"
    data: list[Key]
    has_more: bool
    next: str | None = Field(description="Give it as `after` for the next page.")


class Deleted(BaseModel):
    """A key that is no more."""

    object: Literal["key"] = "key"
    id: str
    deleted: Literal[True] = True


class Revoked(Key):
    """A key whose secrets are good no more."""

    cancelled: int = Field(description="Running requests that were told to stop; each does within seconds.")


class AuditEntry(BaseModel):
    """What somebody did through this API, or tried."""

    object: Literal["audit_entry"] = "audit_entry"
    id: str = Field(description="Of the request, as in `x-request-id` and the log.")
    at: float = Field(description=_UTC)
    action: str = Field(description="The operation, as this document calls it; `signIn` when nobody was let in.")
    key: str | None
    actor: str = Field(description="`secret:` and a version of the admin secret, `iam:` and a right, or `unknown`.")
    address: str | None = Field(description="Where the request came from; of IAM's callers Lambda tells nothing.")
    invocation: str | None = Field(description="Of Lambda: CloudTrail's data events name its caller.")
    outcome: Literal["done", "refused", "unknown"] = Field(
        description="unknown: it was cut off, or the table failed; it may have been made or not."
    )
    code: str | None = Field(description="Of the error.")
    asked: dict[str, Any] = Field(description="The fields of the request.")
    before: dict[str, Any] = Field(description="The fields that changed, as they were.")
    after: dict[str, Any]
    attempts: int | None = Field(description="Of `signIn`: how many one environment refused since its last entry.")


class AuditList(BaseModel):
    """A page of the audit trail. It may be empty and not the last one: filters look at some thousand entries a call."""

    object: Literal["list"] = "list"
    data: list[AuditEntry]
    has_more: bool
    next: str | None


class Window(BaseModel):
    """A budget in the day or month that runs. Money is decimal text, tokens are numbers."""

    limit: int | str | None = Field(description="null is none.")
    spent: int | str = Field(description="With what running requests have reserved and may give back.")
    left: int | str | None
    resets_at: int = Field(description=_UTC)


class KeyBudget(BaseModel):
    """A key's budgets, and what of them is spent."""

    object: Literal["budget"] = "budget"
    key: str
    name: str
    tokens_per_day: Window
    tokens_per_month: Window
    cost_per_day: Window
    cost_per_month: Window


class BudgetList(BaseModel):
    """A page of budgets."""

    object: Literal["list"] = "list"
    data: list[KeyBudget]
    has_more: bool
    next: str | None


class UsageRow(BaseModel):
    """What was used; the fields that rows are not told apart by are null."""

    hour: str | None = Field(description="UTC: 2026-11-21T06.")
    day: str | None = Field(description="UTC: 2026-11-21.")
    key: str | None
    model: str | None
    requests: int = Field(description="Settled ones, the refused among them.")
    prompt_tokens: int
    completion_tokens: int
    cost: str
    recovered: int = Field(description="Of `requests`, those that were settled by the sweeper from a checkpoint.")
    open: int = Field(description="Requests that are not settled yet; not in `requests`.")
    outcomes: dict[str, int] = Field(description="`requests` by outcome.")


class UsageList(BaseModel):
    """A page of usage, in the order of time, key, model."""

    object: Literal["list"] = "list"
    since: str
    until: str
    data: list[UsageRow]
    has_more: bool
    next: str | None


class LedgerEntry(BaseModel):
    """One request, as the ledger has it."""

    object: Literal["request"] = "request"
    id: str
    key: str = Field(description="The key's id; `unknown` for a key that nobody has.")
    model: str
    state: Literal["OPEN", "SETTLED"]
    outcome: str | None = Field(description="complete, cancelled, cut, failed or refused.")
    finish_reason: str | None
    opened_at: float
    settled_at: float | None
    checkpointed_at: float | None = Field(description="Of an open request, when its counts were noted last.")
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: str | None
    reserved_tokens: int
    reserved_cost: str
    prompt_price: str = Field(description="Of one token, at the admission.")
    completion_price: str
    ttft_ms: int | None
    duration_ms: int | None
    recovered: bool = Field(description="Settled by the sweeper from the last checkpoint.")


class Difference(BaseModel):
    """Two places that do not agree about one figure."""

    key: str
    field: str
    places: list[str]
    values: list[int]


class KeyTotals(BaseModel):
    """All that one key ever used, as each place has it. Amounts of money are nano-dollars."""

    key: str
    account: dict[str, int] | None
    ledger: dict[str, int]
    rollups: dict[str, int]
    refused: int
    open: int
    in_flight: int


class Reconciled(BaseModel):
    """Accounts against ledger against rollups."""

    object: Literal["reconciliation"] = "reconciliation"
    agrees: bool
    differences: list[Difference] = Field(description="The first thousand.")
    differences_left: int = Field(description="How many more there are.")
    keys: list[KeyTotals]
    rolled: str = Field(description="The first hour that has no rollups yet: from there on the ledger is read.")


class ReconciledHours(Reconciled):
    """Ledger against rollups in some hours. `keys` have what was used in them; accounts are null."""

    since: str
    until: str = Field(description="The hour to go on from.")
    done: bool = Field(description="All that is past is read; the accounts can be compared.")
    every_key: list[str] | None = Field(description="With `done`: the ids of all keys, the deleted too.")


class RebuiltHour(BaseModel):
    """An hour whose rollups were made again."""

    hour: str
    rows: int
    changed: int
    open: int


class Rebuilt(BaseModel):
    """Rollups that were made again."""

    object: Literal["list"] = "list"
    data: list[RebuiltHour]


class Replayed(BaseModel):
    """What came of replayed lines."""

    object: Literal["replay"] = "replay"
    settled: int
    corrected: int = Field(description="Settled by the sweeper from a checkpoint before, and now as they were.")
    already: int
    malformed: list[str]
    failed: list[str] = Field(description="Request ids that could not be written: replay them again.")
    rolled: int = Field(description="Hours whose rollups were made again.")


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = Field(description="The path of the wrong field.")
    code: str | None


class Error(BaseModel):
    """Every refusal, in OpenAI's shape."""

    error: ErrorBody


def _error(description: str) -> dict[str, Any]:
    return {"model": Error, "description": description}


COMMON: dict[int | str, dict[str, Any]] = {
    400: _error("The request makes no sense; `param` names the field."),
    401: _error("No admin secret, or not the right one."),
    403: _error("Not by the distribution, or this deployment takes no secret."),
    413: _error("The body is too large."),
    500: _error("An internal error; `x-request-id` names it."),
    503: _error("DynamoDB or Secrets Manager does not answer; try again."),
}
MISSING: dict[int | str, dict[str, Any]] = {404: _error("There is no such thing.")}
CONTENDED = {**MISSING, 409: _error("Others are changing the key, or too many of its secrets are good still.")}
