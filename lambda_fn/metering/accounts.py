"""The account item: one for each key, changed only by plain conditional updates.

    pk          KEY#<key id>
    sk          ACCOUNT
    name, owner, created, last_used, enabled
    expires     Unix seconds, when there is an end
    secret_hash the hex SHA-256 of the key
    old_secrets hash -> until when it is good, of the secrets before the last rotations
    revoked     when its secrets were taken away, until it is given another
    revision    counts the changes that admins made
    models      the public names that the key may use, when it may not use all
    networks    those that the key may be used from, as one text, when not from everywhere
    directory   KEYS, the partition of the index that lists all keys
    the limits  `Limits`, each always there
    balance     what is left in each window (`windows`), made by the first request of a window
    in_flight   request id -> `Entry`, as text: few and small attributes, because the whole item is written each time
    open, due   while anything is in flight: ACCOUNT#<shard>, and when the sweeper is to look
    requests, prompt_tokens, completion_tokens, cost   of settled requests

One item is one atom: however many requests come at once, each sees what those before it took. Money is in
nano-dollars. What a request does to it is in `reservations`, what an admin does in `account_changes`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.ids import hash_key, key_id_of
from lambda_fn.metering.windows import UNLIMITED, Window
from lambda_fn.networks import ANYWHERE

STREAMS_MOST = 200
"""The most streams of one key at once. What is in flight is noted in the item, some 90 bytes each, and each write costs
the whole of it: with 200 it has 18 kB, and one item takes 1,000 units of 1 kB a second (docs/explanation/metering.md).
"""


class Limits(msgspec.Struct, frozen=True):
    """A key's limits: of a minute, at once, of a day and of a month. Tokens are prompt and completion together."""

    requests_minute: int = UNLIMITED
    tokens_minute: int = UNLIMITED
    max_streams: int = STREAMS_MOST
    tokens_day: int = UNLIMITED
    tokens_month: int = UNLIMITED
    cost_day: int = UNLIMITED
    cost_month: int = UNLIMITED

    @property
    def budgets_cost(self) -> bool:
        """Whether there is a budget of cost."""
        return min(self.cost_day, self.cost_month) < UNLIMITED


NO_LIMITS = Limits()
LIMIT_NAMES = Limits.__struct_fields__


class Spend(msgspec.Struct, frozen=True, array_like=True):
    """What is booked. `requests` is 1, or 0 for one that never began."""

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int

    @property
    def tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens

    def __sub__(self, other: "Spend") -> "Spend":
        """What is still to be booked when `other` is."""
        return Spend(
            self.requests - other.requests,
            self.prompt_tokens - other.prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.cost - other.cost,
        )


class Correction(msgspec.Struct, frozen=True, array_like=True):
    """What a correction is about: what is booked already, and the prices and the settlement to be written."""

    booked: Spend
    prices: tuple[int, int]
    settlement: dict[str, Any]


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A request in flight. `number` tells it from others of the same request (`reservations`); tokens and cost are what
    is reserved.
    """

    number: int
    tokens: int
    cost: int
    fingerprint: str
    model: str
    correction: Correction | None = None

    @property
    def text(self) -> str:
        """As it stands in the item: `[1,2248,350,"9f86d081884c7d65","m"]`, or with the correction after the model."""
        text = msgspec.json.encode(self).decode()
        return text if self.correction else text.removesuffix(",null]") + "]"

    @classmethod
    def read(cls, text: str) -> "Entry":
        """Read what `text` gave."""
        return msgspec.json.decode(text, type=cls)


class InFlight(Mapping[str, Entry]):
    """What is in flight, by request id; an entry is read when it is asked for, because few ever are."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        """Take the entries as they stand in the item."""
        self._texts = texts

    def __getitem__(self, request_id: str) -> Entry:
        """Give one."""
        return Entry.read(self._texts[request_id])

    def __iter__(self) -> Iterator[str]:
        """Go through the request ids."""
        return iter(self._texts)

    def __len__(self) -> int:
        """Count them."""
        return len(self._texts)


class Account(msgspec.Struct, frozen=True):
    """An account as it was read. It has no hash, so that it may be shown."""

    key_id: str
    name: str
    owner: str
    created: int
    last_used: int | None
    expires: int | None
    old_expires: int | None
    """Until when an older secret is good, the last of them; perhaps it is over."""
    revision: int
    revoked: int | None
    enabled: bool
    models: tuple[str, ...] | None
    networks: str
    limits: Limits
    balance: Mapping[str, int]
    in_flight: Mapping[str, Entry]
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: int

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read an item."""
        return cls(
            key_id=item["pk"].partition("#")[2],
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
            limits=Limits(*map(item.__getitem__, LIMIT_NAMES)),
            balance=item["balance"],
            in_flight=InFlight(item["in_flight"]),
            requests=item.get("requests", 0),
            prompt_tokens=item.get("prompt_tokens", 0),
            completion_tokens=item.get("completion_tokens", 0),
            cost=item.get("cost", 0),
        )

    def left(self, window: Window) -> int:
        """Give what is left in a window."""
        most: int = getattr(self.limits, window.limit)
        return self.balance.get(window.name, most)


def account_key(key_id: str) -> dict[str, str]:
    """Give the primary key of a key's account item."""
    return {"pk": f"KEY#{key_id}", "sk": "ACCOUNT"}


def new_account(
    key: str,
    *,
    name: str,
    now: int,
    owner: str = "",
    most: Limits = NO_LIMITS,
    expires: int | None = None,
    models: Sequence[str] | None = None,
    networks: str = ANYWHERE,
) -> Item:
    """Give the account item for a new key; put it on condition `attribute_not_exists(pk)`.

    Raises:
        ValueError: that is no key.

    """
    key_id = key_id_of(key)
    if key_id is None:
        raise ValueError("not a key")
    item = {
        **account_key(key_id),
        "name": name,
        "owner": owner,
        "created": now,
        "enabled": True,
        "secret_hash": hash_key(key),
        "directory": "KEYS",
        **msgspec.structs.asdict(most),
        "balance": {},
        "in_flight": {},
    }
    if expires is not None:
        item["expires"] = expires
    if models is not None:
        item["models"] = list(models)
    if networks:
        item["networks"] = networks
    return item


USABLE = (
    "attribute_exists(pk) AND enabled = :yes AND (attribute_not_exists(expires) OR expires > :now) "
    "AND (secret_hash = :hash OR old_secrets.#hash > :now)"
)
"""The condition that authenticates; `#hash` and `:hash` are the same."""
