"""The account item: one for each API key, changed only by conditional updates of that one item.

An update of one item is atomic: each of many simultaneous requests sees what those before it have
taken. `keys.ACCOUNT` lists the attributes. The updates of a request are in `holds`, those of an
admin in `account_changes`. Money is in nano-USD.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.ids import hash_key, key_id_of
from lambda_fn.metering.keys import DIRECTORY, VERSIONED, account_id, account_key, check_version
from lambda_fn.metering.money import Prices
from lambda_fn.metering.windows import UNLIMITED, Window
from lambda_fn.networks import ANYWHERE

MAX_STREAMS = 200
"""Maximum number of streams of one key at once.

A hold takes some 90 bytes of the item, and AWS charges each write by the size of the whole item.
With 200 holds the item has 18 kB, and one item accepts 1,000 units of 1 kB a second
(docs/explanation/metering.md).
"""


class Limits(msgspec.Struct, frozen=True):
    """A key's limits for a minute, at once, for a day and for a month.

    Tokens are prompt and completion tokens together.
    """

    requests_minute: int = UNLIMITED
    tokens_minute: int = UNLIMITED
    max_streams: int = MAX_STREAMS
    tokens_day: int = UNLIMITED
    tokens_month: int = UNLIMITED
    cost_day: int = UNLIMITED
    cost_month: int = UNLIMITED

    @property
    def budgets_cost(self) -> bool:
        """Whether the key has a budget of cost."""
        return min(self.cost_day, self.cost_month) < UNLIMITED

    @property
    def budgeted(self) -> bool:
        """Whether the key has a budget of tokens or cost, for a day or a month."""
        return self.budgets_cost or min(self.tokens_day, self.tokens_month) < UNLIMITED

    @property
    def budgeted_by_month(self) -> bool:
        """Whether the key has a budget of tokens or cost for a month."""
        return min(self.tokens_month, self.cost_month) < UNLIMITED


NO_LIMITS = Limits()
LIMIT_NAMES = Limits.__struct_fields__


class Spend(msgspec.Struct, frozen=True, array_like=True):
    """The amounts that an account is charged for a request.

    `requests` is 1, or 0 for a request that never began.
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __sub__(self, other: "Spend") -> "Spend":
        """Return the amounts that remain to be booked after `other`."""
        return Spend(
            self.requests - other.requests,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.cost - other.cost,
        )


NOTHING = Spend(0, 0, 0, 0)


class Correction(msgspec.Struct, frozen=True, array_like=True):
    """A settlement that replaces a recovered one.

    `booked` is what the account is charged already. `settlement` has the fields of the new
    `ledger.Settlement`, whose cost is at `prices`.
    """

    booked: Spend
    prices: Prices
    settlement: dict[str, Any]


class Hold(msgspec.Struct, frozen=True, array_like=True, dict=True):
    """The hold of a request in flight.

    `attempt` is its fencing number (see `holds`). `tokens` and `cost` are the amounts held, which
    extensions raise.
    `claimed` tells that the sweeper settles the request, so that its admission cannot void it.
    """

    attempt: int
    tokens: int
    cost: int
    fingerprint: str
    model: str
    correction: Correction | None = None
    claimed: bool = False

    @cached_property
    def text(self) -> str:
        """The text of the hold in the item, such as `[1,2248,350,"9f86d081884c7d65","m"]`.

        Last elements with their defaults are left out. A hold that was read keeps its text, because
        conditions compare the whole text.
        """
        text = msgspec.json.encode(self).decode()
        for default in (",false]", ",null]"):
            if text.endswith(default):
                text = text.removesuffix(default) + "]"
        return text

    def claim(self) -> Self:
        """Return the same hold, claimed. Elements that a later deployment added stay."""
        return self._with(claimed=True)

    def extend(self, tokens: int, cost: int) -> Self:
        """Return the same hold with larger amounts. Elements that a later deployment added stay."""
        return self._with(tokens=self.tokens + tokens, cost=self.cost + cost)

    def _with(self, **changes: Any) -> Self:
        elements = msgspec.json.decode(self.text)
        for name, value in changes.items():
            place = self.__struct_fields__.index(name)
            elements += [None] * (place - len(elements))
            elements[place : place + 1] = [value]
        return self.parse(msgspec.json.encode(elements).decode())

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a hold from its text. Elements that a later deployment added are skipped."""
        hold = msgspec.json.decode(text, type=cls)
        hold.__dict__["text"] = text
        return hold


class InFlight(Mapping[str, Hold]):
    """The holds of an account, by request id.

    A hold is parsed when it is looked up, because few of them ever are.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Keep the texts of the item."""
        self._texts = texts

    def __getitem__(self, request_id: str) -> Hold:
        """Return one hold."""
        return Hold.parse(self._texts[request_id])

    def __iter__(self) -> Iterator[str]:
        """Iterate over the request ids."""
        return iter(self._texts)

    def __len__(self) -> int:
        """Return the number of holds."""
        return len(self._texts)


class KeyFilters(NamedTuple):
    """What a key adds to the filters of its deployment.

    `redact` has kinds that are replaced in its answers. With `blocks`, the deployment's rules of
    moderation block its requests and answers, if they would not do so anyway.
    """

    redact: tuple[str, ...] = ()
    blocks: bool = False


NO_FILTERS = KeyFilters()


class Account(msgspec.Struct, frozen=True):
    """An account as it was read. It contains no hash, so that it can be shown and logged."""

    key_id: str
    name: str
    owner: str
    created: int
    last_used: int | None
    expires: int | None
    old_expires: int | None
    """Unix seconds until which the last of the older secrets is valid; it may be past."""
    revision: int
    revoked: int | None
    enabled: bool
    models: tuple[str, ...] | None
    networks: str
    filters: KeyFilters
    limits: Limits
    balance: Mapping[str, int]
    in_flight: Mapping[str, Hold]
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int

    def may_use(self, model: str) -> bool:
        """Return whether the key may use a model."""
        return self.models is None or model in self.models

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read an account item. Raises UnknownVersion."""
        check_version(item)
        return cls(
            key_id=account_id(item["pk"]),
            name=item["name"],
            owner=item["owner"],
            created=item["created"],
            last_used=item.get("last_used"),
            expires=item.get("expires"),
            old_expires=max(item.get("old_secrets", {}).values(), default=None),
            revision=item.get("revision", 0),
            revoked=item.get("revoked"),
            enabled=item["enabled"],
            models=tuple(item["models"]) if "models" in item else None,
            networks=item.get("networks", ANYWHERE),
            filters=KeyFilters(tuple(item.get("redact", ())), item.get("moderate") == "block"),
            limits=Limits(*map(item.__getitem__, LIMIT_NAMES)),
            balance=item["balance"],
            in_flight=InFlight(item["in_flight"]),
            requests=item.get("requests", 0),
            prompt_tokens=item.get("prompt_tokens", 0),
            completion_tokens=item.get("completion_tokens", 0),
            cost=item.get("cost", 0),
        )

    def remaining(self, window: Window) -> int:
        """Return the amount that remains in a window."""
        limit: int = getattr(self.limits, window.limit)
        return self.balance.get(window.name, limit)


def new_account(
    key: str,
    *,
    name: str,
    now: int,
    owner: str = "",
    limits: Limits = NO_LIMITS,
    expires: int | None = None,
    models: Sequence[str] | None = None,
    networks: str = ANYWHERE,
    redact: Sequence[str] = (),
    moderate: str | None = None,
) -> Item:
    """Return the account item of a new key. Put it on the condition `attribute_not_exists(pk)`.

    Raises:
        ValueError: `key` does not have the form of a key.

    """
    key_id = key_id_of(key)
    if key_id is None:
        raise ValueError("not a key")
    item = {
        **account_key(key_id),
        **VERSIONED,
        "name": name,
        "owner": owner,
        "created": now,
        "enabled": True,
        "secret_hash": hash_key(key),
        "directory": DIRECTORY,
        **msgspec.structs.asdict(limits),
        "balance": {},
        "in_flight": {},
    }
    if expires is not None:
        item["expires"] = expires
    if models is not None:
        item["models"] = list(models)
    if networks:
        item["networks"] = networks
    if redact:
        item["redact"] = list(redact)
    if moderate is not None:
        item["moderate"] = moderate
    return item


USABLE = (
    "attribute_exists(pk) AND enabled = :yes AND (attribute_not_exists(expires) OR expires > :now) "
    "AND (secret_hash = :hash OR old_secrets.#hash > :now)"
)
"""The condition that authenticates a key. `#hash` and `:hash` are both the presented hash."""
