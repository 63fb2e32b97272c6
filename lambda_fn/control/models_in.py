"""What the admin API takes: every field bounded, and none that is not here.

What is given is refused for what is wrong with it and not bent into shape: "5" is no number here, and true no 1.
"""

import re
import time
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lambda_fn.metering.accounts import MAX_STREAMS
from lambda_fn.networks import canonical
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
        raise ValueError("must be written as 12.5")  # Decimal takes "1_0" and digits of every script, too
    return value


def _future(moment: int) -> int:
    if moment <= time.time():
        raise ValueError("must be in the future, in Unix seconds")
    return moment


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("names a model twice")
    return names


def _networks(texts: list[str]) -> list[str]:
    try:
        return canonical(texts).split()
    except ValueError:
        words = "must be networks such as 203.0.113.0/24 or 2001:db8::/32, with no bits set outside of them"
        raise ValueError(words) from None


class Given(BaseModel):
    """A request's body."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Text = Annotated[str, Field(max_length=128), AfterValidator(_printable)]
Name = Annotated[Text, Field(min_length=1)]
Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS)]
Money = Annotated[
    Decimal,
    Field(ge=0, le=MAX_MONEY, decimal_places=9, allow_inf_nan=False, strict=False),  # JSON has no Decimal
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
_FROM = "Networks (CIDR) that it may be used from; null is everywhere."


class Budget(Given):
    """Budgets of a day and of a month, UTC; null is none. Money is in currency units, as text or number."""

    tokens_per_day: Tokens | None = Field(default=None, description="Prompt and completion tokens together.")
    tokens_per_month: Tokens | None = None
    cost_per_day: Money | None = Field(default=None, description="At the prices of the models.")
    cost_per_month: Money | None = None


class Limits(Budget):
    """Rates, streams at once, and budgets; null is none."""

    requests_per_minute: Annotated[int, Field(ge=0, le=MAX_REQUESTS)] | None = None
    tokens_per_minute: Tokens | None = None
    concurrent_streams: Annotated[int, Field(ge=0, le=MAX_STREAMS)] | None = Field(
        default=None,
        description="Left out of a new key, it is the setting `default_max_streams`; "
        f"null is {MAX_STREAMS}, the most that a key can have.",
    )


class KeyCreate(Given):
    """A new key."""

    name: Name = Field(description="What it is called in reports.")
    owner: Text = Field(default="", description="Whose it is: a person, a team, an application.")
    expires_at: Moment | None = Field(default=None, description="Unix seconds; null is never.")
    enabled: bool = True
    models: Models | None = Field(default=None, description="The models it may use; null is all, also those to come.")
    networks: Networks | None = Field(default=None, description=_FROM)
    limits: Limits = Limits()


class KeyUpdate(Given):
    """A change: what is left out stays as it is, and null takes away."""

    name: Name | None = None
    owner: Text | None = None
    expires_at: Moment | None = None
    enabled: bool | None = None
    models: Models | None = None
    networks: Networks | None = Field(default=None, description=_FROM)
    limits: Limits | None = Field(default=None, description="Of these, too, only what is given changes.")


class KeyRotate(Given):
    """A new secret for a key."""

    grace_seconds: int = Field(
        default=GRACE,
        ge=0,
        le=MAX_GRACE,
        description="For so long the old secret is good still. 0 ends it, and all older ones, at once.",
    )


class Rebuild(Given):
    """Hours whose rollups are made again."""

    since: str = Field(description="The first hour, UTC: 2026-11-21T06, or a day, 2026-11-21.")
    until: str = Field(description="The hour, or day, after the last one.")


class ReconcileHours(Given):
    """Where comparing ledger and rollups goes on."""

    since: str | None = Field(default=None, description="`until` of the part before; null is the beginning.")


class Booked(Given):
    """Amounts; money in nano-dollars."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int


class KeyPast(Given):
    """What a key used in the past: the sums of `keys` of all parts."""

    key: str = Field(pattern="^[a-z2-7]{12}$")
    account: None = None
    ledger: Booked = Booked(requests=0, prompt_tokens=0, completion_tokens=0, cost=0)
    rollups: Booked = Booked(requests=0, prompt_tokens=0, completion_tokens=0, cost=0)
    refused: int = 0
    open: int = 0
    in_flight: int = 0


class ReconcileKeys(Given):
    """Keys whose accounts are compared."""

    since: str = Field(description="`until` of the last part.")
    keys: list[KeyPast] = Field(max_length=MAX_KEYS)


class Replay(Given):
    """Lines of the stream function's log; those that are no unsaved settlements are passed over."""

    lines: list[Annotated[str, Field(max_length=20_000)]] = Field(max_length=1_000)


class Asked(BaseModel):
    """A request's query."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListKeys(Asked):
    """A page of keys, the newest first."""

    limit: int = Field(default=20, ge=1, le=100)
    after: str | None = Field(default=None, max_length=1024, description="`next` of the page before.")
    owner: str | None = Field(default=None, max_length=128, description="Only this owner's keys.")


class ListAudit(Asked):
    """A page of the audit trail, the newest first."""

    since: str | None = Field(default=None, description="The first hour or day, UTC. Default: 30 days ago.")
    until: str | None = Field(default=None, description="The hour or day after the last one. Default: now.")
    key: str | None = Field(default=None, pattern="^[a-z2-7]{12}$", description="Only what concerns this key.")
    actor: str | None = Field(default=None, max_length=128, description="`iam`, `secret`, `unknown`, or one whole.")
    limit: int = Field(default=100, ge=1, le=1000)
    after: str | None = Field(default=None, max_length=1024, description="`next` of the page before.")


class ListUsage(Asked):
    """A page of usage."""

    since: str | None = Field(
        default=None, description="The first hour or day, UTC: 2026-11-21T06, 2026-11-21. 30 days ago."
    )
    until: str | None = Field(default=None, description="The hour or day after the last one. Default: now.")
    by: str = Field(
        default="day", description="What rows are told apart by: some of hour, day, key, model, with commas."
    )
    key: str | None = Field(default=None, pattern="^[a-z2-7]{12}$", description="Only this key's.")
    model: str | None = Field(default=None, min_length=1, max_length=64, description="Only this model's.")
    limit: int = Field(default=1000, ge=1, le=10_000)
    after: str | None = Field(default=None, max_length=1024, description="`next` of the page before.")
    format: Literal["json", "csv"] = Field(
        default="json", description="CSV's next token is in the header `x-next-page`."
    )
