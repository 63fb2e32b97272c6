"""The responses of the admin API, as its OpenAPI document shows them.

Money is decimal text, in currency units.
"""

from typing import Any, Literal

from pydantic import BaseModel, Field

_UTC = "Unix seconds."


class KeyLimits(BaseModel):
    """A key's limits; null means no limit."""

    requests_per_minute: int | None
    tokens_per_minute: int | None
    concurrent_streams: int
    tokens_per_day: int | None
    tokens_per_month: int | None
    cost_per_day: str | None
    cost_per_month: str | None


class Totals(BaseModel):
    """A key's total usage, of settled requests."""

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
    models: list[str] | None = Field(description="The models that the key may use; null means all.")
    networks: list[str] | None = Field(
        description="The networks that the key may be used from; null means anywhere."
    )
    redact: list[str] | None = Field(
        description="What is replaced in answers to the key, beside what the deployment replaces."
    )
    moderate: Literal["block"] | None = Field(
        description="Whether the deployment's rules of moderation block what the key sends and "
        "gets, if they would not do so anyway."
    )
    limits: KeyLimits
    in_flight: int = Field(description="Requests that are running.")
    totals: Totals
    old_secret_expires_at: int | None = Field(
        description="Unix seconds until which the last of the older secrets is valid."
    )


class NewKey(Key):
    """A key with its secret, which is shown only here and stored nowhere."""

    secret: str = Field(description="The whole key, for `Authorization: Bearer`.")


class KeyList(BaseModel):
    """A page of keys."""

    object: Literal["list"] = "list"
    data: list[Key]
    has_more: bool
    next: str | None = Field(description="Send it as `after` to get the next page.")


class Deleted(BaseModel):
    """A deleted key."""

    object: Literal["key"] = "key"
    id: str
    deleted: Literal[True] = True
    answers: Literal["deleting", "kept"] = Field(
        description="Whether what the key has stored is being deleted, or kept until it expires."
    )


class KeptResponse(BaseModel):
    """A response that is kept, without its content."""

    object: Literal["response"] = "response"
    id: str = Field(description="The value of `x-sluice-stream`.")
    key: str = Field(description="The id of the key that made it.")
    created_at: int = Field(description=_UTC)
    model: str
    form: str = Field(description="The form in which its client got it.")
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    streamable: bool = Field(description="Whether its events are kept, or only the result.")
    expires_at: int = Field(description=_UTC)
    metadata: dict[str, str]


class ResponseList(BaseModel):
    """A page of kept responses."""

    object: Literal["list"] = "list"
    data: list[KeptResponse]
    has_more: bool
    next: str | None


class Cancelling(BaseModel):
    """Whether a response was running, so that its function was asked to end it."""

    object: Literal["response"] = "response"
    id: str
    cancelling: bool


class DeletedResponse(BaseModel):
    """A deleted response."""

    object: Literal["response"] = "response"
    id: str
    deleted: Literal[True] = True


class KeptConversation(BaseModel):
    """A conversation, without its items."""

    object: Literal["conversation"] = "conversation"
    id: str
    key: str = Field(description="The id of the key that made it.")
    created_at: int = Field(description=_UTC)
    expires_at: int = Field(description=_UTC)
    metadata: dict[str, str]


class ConversationList(BaseModel):
    """A page of conversations."""

    object: Literal["list"] = "list"
    data: list[KeptConversation]
    has_more: bool
    next: str | None


class DeletedConversation(BaseModel):
    """A deleted conversation."""

    object: Literal["conversation"] = "conversation"
    id: str
    deleted: Literal[True] = True


class Revoked(Key):
    """A key whose secrets were removed."""

    cancelled: int = Field(
        description="Running requests whose end was requested; each ends within seconds."
    )


class AuditEntry(BaseModel):
    """An operation that a caller made, or tried to make, through this API."""

    object: Literal["audit_entry"] = "audit_entry"
    id: str = Field(description="The request's id, as in `x-request-id` and the log.")
    at: float = Field(description=_UTC)
    action: str = Field(
        description="The operation in this document; `signIn` if the caller was not let in."
    )
    key: str | None
    actor: str = Field(
        description="`secret:` and a version of the admin secret, `iam:` and a right, or `unknown`."
    )
    address: str | None = Field(
        description="Where the request came from; null through IAM, because Lambda does not tell."
    )
    invocation: str | None = Field(
        description="Lambda's id of the invocation; CloudTrail's data events name its caller."
    )
    outcome: Literal["done", "refused", "unknown"] = Field(
        description="unknown: it was interrupted or the table failed. It may have been made or not."
    )
    code: str | None = Field(description="The code of the error.")
    asked: dict[str, Any] = Field(description="The fields of the request.")
    before: dict[str, Any] = Field(description="The fields that changed, as they were.")
    after: dict[str, Any]
    attempts: int | None = Field(
        description="For `signIn`: the requests that one environment refused since its last entry."
    )


class AuditList(BaseModel):
    """A page of the audit trail. With filters, an empty page need not be the last one, because a
    call reads at most some thousand entries.
    """

    object: Literal["list"] = "list"
    data: list[AuditEntry]
    has_more: bool
    next: str | None


class Window(BaseModel):
    """A budget in the current day or month. Money is decimal text, tokens are numbers."""

    limit: int | str | None = Field(description="null means no limit.")
    spent: int | str = Field(description="Includes what running requests hold and may give back.")
    left: int | str | None
    resets_at: int = Field(description=_UTC)


class KeyBudget(BaseModel):
    """A key's budgets, and how much of them is spent."""

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
    """A row of usage; fields not grouped by are null."""

    hour: str | None = Field(description="UTC: 2026-11-21T06.")
    day: str | None = Field(description="UTC: 2026-11-21.")
    month: str | None = Field(description="UTC: 2026-11.")
    owner: str | None = Field(description="The owner of the keys, as it is now.")
    key: str | None
    model: str | None
    requests: int = Field(description="Settled requests, refused ones included.")
    prompt_tokens: int
    completion_tokens: int
    cost: str
    recovered: int = Field(
        description="The part of `requests` that the sweeper settled from a checkpoint."
    )
    open: int = Field(description="Requests that are not settled yet and not in `requests`.")
    outcomes: dict[str, int] = Field(description="`requests` by outcome.")


class UsageList(BaseModel):
    """A page of usage, sorted by time, owner, key, model."""

    object: Literal["list"] = "list"
    since: str
    until: str
    data: list[UsageRow]
    has_more: bool
    next: str | None


class LedgerEntry(BaseModel):
    """A request, as the ledger has it."""

    object: Literal["request"] = "request"
    id: str
    key: str = Field(description="The key's id.")
    model: str
    state: Literal["OPEN", "SETTLED"]
    outcome: str | None = Field(description="complete, cancelled, cut, failed or refused.")
    finish_reason: str | None
    opened_at: float
    settled_at: float | None
    checkpointed_at: float | None = Field(
        description="Unix seconds at which the counts of an open request were last noted."
    )
    prompt_tokens: int | None
    continued_prompt_tokens: int = Field(
        description="Those of `prompt_tokens` that were read again, to continue the response "
        "after its container had ended. The client's usage does not have them."
    )
    completion_tokens: int | None
    cost: str | None
    reserved_tokens: int
    reserved_cost: str
    prompt_price: str = Field(description="The price of a token at the admission.")
    completion_price: str
    ttft_ms: int | None
    duration_ms: int | None
    recovered: bool = Field(description="Whether the sweeper settled it, from the last checkpoint.")


class Difference(BaseModel):
    """Two places that differ in one figure."""

    key: str
    field: str
    places: list[str]
    values: list[int]


class KeyTotals(BaseModel):
    """The total usage of one key, as each place has it. Money is in nano-USD."""

    key: str
    account: dict[str, int] | None
    ledger: dict[str, int]
    rollups: dict[str, int]
    refused: int
    open: int
    in_flight: int


class Reconciled(BaseModel):
    """The comparison of accounts, ledger and rollups."""

    object: Literal["reconciliation"] = "reconciliation"
    agrees: bool
    differences: list[Difference] = Field(description="The first thousand.")
    differences_left: int = Field(description="The number of further differences.")
    keys: list[KeyTotals]
    rolled: str = Field(
        description="The first hour without rollups; from there the ledger is read."
    )


class ReconciledHours(Reconciled):
    """The comparison of ledger and rollups in some hours. `keys` have the usage of these hours, and
    no accounts.
    """

    since: str
    until: str = Field(description="The hour at which the next part begins.")
    done: bool = Field(
        description="Whether all past hours are read; then the accounts can be compared."
    )
    every_key: list[str] | None = Field(
        description="With `done`: the ids of all keys, deleted ones included."
    )


class RebuiltHour(BaseModel):
    """The result of making an hour's rollups again."""

    hour: str
    rows: int
    changed: int
    open: int


class Rebuilt(BaseModel):
    """Rollups that were made again."""

    object: Literal["list"] = "list"
    data: list[RebuiltHour]


class ServiceState(BaseModel):
    """Whether requests are served."""

    object: Literal["service"] = "service"
    stopped_at: int | None = Field(
        description="Unix seconds since which new requests are refused; null while they are served."
    )
    reason: str | None
    exhausted_month: str | None = Field(
        description="The month whose ceiling is reached, so that its requests are refused."
    )
    running: int = Field(description="Requests that have not ended.")


class Replayed(BaseModel):
    """The numbers of replayed lines."""

    object: Literal["replay"] = "replay"
    settled: int
    corrected: int = Field(
        description="Lines that replaced a settlement of the sweeper from a checkpoint."
    )
    already: int
    malformed: list[str]
    failed: list[str] = Field(
        description="The ids of requests that could not be written; replay their lines again. "
        "`rollups: ...` says why no rollups were made again."
    )
    rolled: int = Field(description="The number of hours whose rollups were made again.")


class ErrorBody(BaseModel):
    """An error."""

    message: str
    type: str
    param: str | None = Field(description="The path of the wrong field.")
    code: str | None


class Error(BaseModel):
    """The body of every error, in OpenAI's shape."""

    error: ErrorBody


def _error(description: str) -> dict[str, Any]:
    return {"model": Error, "description": description}


COMMON: dict[int | str, dict[str, Any]] = {
    400: _error("The request is invalid; `param` names the field."),
    401: _error("The admin secret is missing or wrong."),
    403: _error(
        "The distribution was bypassed, this deployment takes no secret, or a right is missing."
    ),
    413: _error("The body is too large."),
    500: _error("An internal error; `x-request-id` names it."),
    503: _error("DynamoDB or Secrets Manager does not answer; try again."),
}
MISSING: dict[int | str, dict[str, Any]] = {
    404: _error("The key, request or response does not exist.")
}
CONTENDED = {
    **MISSING,
    409: _error(
        "Other requests are changing the key, or it has too many secrets that are still valid."
    ),
}
