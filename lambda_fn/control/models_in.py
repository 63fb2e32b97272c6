"""The requests of the admin API. Every field is bounded, and unknown fields are rejected.

A value of a wrong type is rejected and not converted: "5" is not a number here, and true is not 1.
"""

import re
import time
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lambda_fn.metering.accounts import MAX_STREAMS
from lambda_fn.networks import canonical
from lambda_fn.patterns import KINDS, Kind
from lambda_fn.reporting.reconcile import MAX_KEYS

MAX_TOKENS = 10**15
MAX_REQUESTS = 10**7
MAX_MONEY = Decimal(10**8)
GRACE = 86_400
MAX_GRACE = 30 * 86_400
_LAST = 4_102_444_800  # 2100-01-01


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


def _money(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise ValueError("must be an amount, as text or number")
    if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", value):
        # Decimal would also accept "1_0" and the digits of every script.
        raise ValueError("must be a decimal number such as 12.5")
    return value


def _future(moment: int) -> int:
    if moment <= time.time():
        raise ValueError("must be in the future, in Unix seconds")
    return moment


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("names a model twice")
    return names


def _distinct_kinds(kinds: list[Kind]) -> list[Kind]:
    if len(set(kinds)) != len(kinds):
        raise ValueError("names a kind twice")
    return kinds


def _networks(texts: list[str]) -> list[str]:
    try:
        return canonical(texts).split()
    except ValueError:
        message = "must be networks such as 203.0.113.0/24 or 2001:db8::/32, without host bits set"
        raise ValueError(message) from None


class Body(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Text = Annotated[str, Field(max_length=128), AfterValidator(_printable)]
Name = Annotated[str, Field(min_length=1, max_length=128), AfterValidator(_printable)]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
Money = Annotated[
    Decimal,
    # JSON has no Decimal
    Field(ge=0, le=MAX_MONEY, decimal_places=9, allow_inf_nan=False, strict=False),
    BeforeValidator(_money),
]
Moment = Annotated[int, Field(le=_LAST), AfterValidator(_future)]
Models = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(min_length=1, max_length=64),
    AfterValidator(_distinct),
]

Networks = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=64)]],
    Field(min_length=1, max_length=16),
    AfterValidator(_networks),
]
Redacted = Annotated[
    list[Kind],
    Field(min_length=1, max_length=len(KINDS)),
    AfterValidator(_distinct_kinds),
]
_MODERATE = (
    "`block`: the deployment's rules of moderation block what the key sends and gets, if they would "
    "not do so anyway; null means no more than the deployment does."
)
_REDACT = "What is replaced in answers to the key, beside what the deployment replaces; null means no more."
_FROM = "The networks (CIDR) that the key may be used from; null means anywhere."


class Budget(Body):
    """Budgets of a UTC day and month; null means no budget.

    Money is text or number, in currency units.
    """

    tokens_per_day: Tokens | None = Field(
        default=None, description="Prompt and completion tokens together."
    )
    tokens_per_month: Tokens | None = None
    cost_per_day: Money | None = Field(default=None, description="At the prices of the models.")
    cost_per_month: Money | None = None


class Limits(Budget):
    """Rates, concurrent streams and budgets; null means no limit."""

    requests_per_minute: Annotated[int, Field(ge=0, le=MAX_REQUESTS)] | None = None
    tokens_per_minute: Tokens | None = None
    concurrent_streams: Annotated[int, Field(ge=0, le=MAX_STREAMS)] | None = Field(
        default=None,
        description="If a new key leaves it out, the setting `default_max_streams`; "
        f"null means {MAX_STREAMS}, the most that a key can have.",
    )


class KeyCreate(Body):
    """A new key."""

    name: Name = Field(description="The name of the key in reports.")
    owner: Text = Field(default="", description="The person, team or application that has the key.")
    expires_at: Moment | None = Field(default=None, description="Unix seconds; null means never.")
    enabled: bool = True
    models: Models | None = Field(
        default=None,
        description="The models that the key may use; null means all, later ones included.",
    )
    networks: Networks | None = Field(default=None, description=_FROM)
    redact: Redacted | None = Field(default=None, description=_REDACT)
    moderate: Literal["block"] | None = Field(default=None, description=_MODERATE)
    limits: Limits = Limits()


class KeyUpdate(Body):
    """A change of a key: fields left out stay as they are, and null removes."""

    name: Name | None = None
    owner: Text | None = None
    expires_at: Moment | None = None
    enabled: bool | None = None
    models: Models | None = None
    networks: Networks | None = Field(default=None, description=_FROM)
    redact: Redacted | None = Field(default=None, description=_REDACT)
    moderate: Literal["block"] | None = Field(default=None, description=_MODERATE)
    limits: Limits | None = Field(
        default=None, description="Limits that are left out stay as they are."
    )


class KeyRotate(Body):
    """A new secret for a key."""

    grace_seconds: int = Field(
        default=GRACE,
        ge=0,
        le=MAX_GRACE,
        description="Seconds for which the old secret stays valid; 0 ends all old secrets at once.",
    )


class Rebuild(Body):
    """The hours whose rollups are made again."""

    since: str = Field(description="The first hour, UTC: 2026-11-21T06, or a day, 2026-11-21.")
    until: str = Field(description="The hour, or day, after the last one.")


class ReconcileHours(Body):
    """The hour at which the comparison of ledger and rollups continues."""

    since: str | None = Field(
        default=None, description="`until` of the part before; null starts at the oldest key."
    )


class Booked(Body):
    """Amounts; money in nano-USD."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int


class KeyPast(Body):
    """A key's totals before `since`: the sums of its entries in `keys` over all parts."""

    key: str = Field(pattern="^[a-z2-7]{12}$")
    account: None = None
    ledger: Booked = Booked(requests=0, prompt_tokens=0, completion_tokens=0, cost=0)
    rollups: Booked = Booked(requests=0, prompt_tokens=0, completion_tokens=0, cost=0)
    refused: int = 0
    open: int = 0
    in_flight: int = 0


class ReconcileKeys(Body):
    """The keys whose accounts are compared."""

    since: str = Field(description="`until` of the last part.")
    keys: list[KeyPast] = Field(max_length=MAX_KEYS)


class Replay(Body):
    """Lines of the stream function's log; lines that are not unsaved settlements are skipped."""

    lines: list[Annotated[str, Field(max_length=20_000)]] = Field(max_length=1_000)


class Stop(Body):
    """Why the service is stopped, and whether requests that run may end by themselves."""

    reason: Annotated[str, AfterValidator(_printable)] = Field(
        default="it is under maintenance.",
        min_length=1,
        max_length=200,
        description="A sentence for the callers of refused requests.",
    )
    drain: bool = Field(default=False, description="Whether running requests are not cancelled.")


class QueryString(BaseModel):
    """A request's query string."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListKeys(QueryString):
    """A page of keys, the newest first."""

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(
        default=None, max_length=1024, description="`next` of the page before."
    )
    owner: str | None = Field(default=None, max_length=128, description="Only this owner's keys.")


class ListResponses(QueryString):
    """A page of a key's kept responses, the newest first."""

    key: str = Field(pattern="^[a-z2-7]{12}$", description="The key's id.")
    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(
        default=None, max_length=1024, description="`next` of the page before."
    )
    status: (
        Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"] | None
    ) = Field(default=None, description="Only responses of this status.")
    since: int = Field(default=0, ge=0, le=2**40, description="Unix seconds; no earlier ones.")


class ListConversations(QueryString):
    """A page of a key's conversations, the newest first."""

    key: str = Field(pattern="^[a-z2-7]{12}$", description="The key's id.")
    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(
        default=None, max_length=1024, description="`next` of the page before."
    )
    since: int = Field(default=0, ge=0, le=2**40, description="Unix seconds; no earlier ones.")


class ConversationOwner(QueryString):
    """The key of a conversation."""

    key: str = Field(pattern="^[a-z2-7]{12}$", description="The key's id.")


class ListAudit(QueryString):
    """A page of the audit trail, the newest first."""

    since: str | None = Field(
        default=None, description="The first hour or day, UTC. Default: 30 days ago."
    )
    until: str | None = Field(
        default=None, description="The hour or day after the last one. Default: now."
    )
    key: str | None = Field(
        default=None, pattern="^[a-z2-7]{12}$", description="Only entries about this key."
    )
    actor: str | None = Field(
        default=None,
        max_length=128,
        description="`iam`, `secret` or `unknown`, or an entry's whole `actor`.",
    )
    limit: int = Field(default=100, ge=1, le=1000)
    after: str | None = Field(
        default=None, max_length=1024, description="`next` of the page before."
    )


class ListUsage(QueryString):
    """A page of usage."""

    since: str | None = Field(
        default=None,
        description="The first hour or day, UTC: 2026-11-21T06, 2026-11-21. Default: 30 days ago.",
    )
    until: str | None = Field(
        default=None, description="The hour or day after the last one. Default: now."
    )
    by: str = Field(
        default="day",
        description="What rows are grouped by: some of hour, day, month, owner, key, model, separated by commas.",
    )
    key: str | None = Field(
        default=None, pattern="^[a-z2-7]{12}$", description="Only usage of this key."
    )
    model: str | None = Field(
        default=None, min_length=1, max_length=64, description="Only usage of this model."
    )
    limit: int = Field(default=1000, ge=1, le=10_000)
    after: str | None = Field(
        default=None, max_length=1024, description="`next` of the page before."
    )
    format: Literal["json", "csv"] = Field(
        default="json",
        description="With csv, the token of the next page is in the header `x-next-page`.",
    )
