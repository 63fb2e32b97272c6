"""The account item: one for each key, changed only by plain conditional updates.

    pk          KEY#<key id>
    sk          ACCOUNT
    name, owner, created, last_used, enabled
    expires     Unix seconds, when there is an end
    secret_hash the hex SHA-256 of the key
    old_hash, old_expires   of the key before the last rotation, good until then
    models      the public names that the key may use, when it may not use all
    directory   KEYS, the partition of the index that lists all keys
    the limits  `Limits`, each always there
    balance     what is left in each window (`windows`), made by the first request of a window
    in_flight   request id -> `Entry`, as text: few and small attributes, because the whole item is written each time
    open, due   while anything is in flight: ACCOUNT#<shard>, and when the sweeper is to look
    requests, prompt_tokens, completion_tokens, cost   of settled requests

One item is one atom: however many requests come at once, each sees what those before it took. Money is in
nano-dollars. Here are the item and what changes a key; what a request does to it is in `reservations`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Update
from lambda_fn.ids import hash_key, key_id_of
from lambda_fn.windows import UNLIMITED, Window, windows_of

STREAMS_MOST = 2_000
"""The most streams of one key at once: an item has 400 kB, and what is in flight is noted in it."""


@dataclass(frozen=True)
class Limits:
    """A key's limits: of a minute, at once, of a day and of a month. Tokens are prompt and completion together."""

    requests_minute: int = UNLIMITED
    tokens_minute: int = UNLIMITED
    max_streams: int = STREAMS_MOST
    tokens_day: int = UNLIMITED
    tokens_month: int = UNLIMITED
    cost_day: int = UNLIMITED
    cost_month: int = UNLIMITED


NO_LIMITS = Limits()
LIMIT_NAMES = tuple(field.name for field in dataclasses.fields(Limits))


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


@dataclass(frozen=True)
class Account:
    """An account as it was read. It has no hash, so that it may be shown."""

    key_id: str
    name: str
    owner: str
    created: int
    last_used: int | None
    expires: int | None
    old_expires: int | None
    enabled: bool
    models: tuple[str, ...] | None
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
            old_expires=item.get("old_expires"),
            enabled=item["enabled"],
            models=tuple(item["models"]) if "models" in item else None,
            limits=Limits(**{name: item[name] for name in LIMIT_NAMES}),
            balance=item["balance"],
            in_flight={request_id: Entry.read(text) for request_id, text in item["in_flight"].items()},
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
        **dataclasses.asdict(most),
        "balance": {},
        "in_flight": {},
    }
    if expires is not None:
        item["expires"] = expires
    if models is not None:
        item["models"] = list(models)
    return item


USABLE = (
    "attribute_exists(pk) AND enabled = :yes AND (attribute_not_exists(expires) OR expires > :now) "
    "AND (secret_hash = :hash OR (old_hash = :hash AND old_expires > :now))"
)


def touch(key_id: str, key_hash: str, *, now: int) -> Update:
    """Authenticate, and note the use."""
    return Update(
        account_key(key_id),
        update="SET last_used = :now",
        condition=USABLE,
        values={":now": now, ":yes": True, ":hash": key_hash},
    )


def rotate(key_id: str, new_hash: str, *, now: int, grace: int) -> Update:
    """Give a key another secret; the old one is good for `grace` more seconds. Doing it again changes nothing."""
    return Update(
        account_key(key_id),
        update="SET old_hash = secret_hash, old_expires = :until, secret_hash = :hash",
        condition="attribute_exists(pk) AND secret_hash <> :hash",
        values={":hash": new_hash, ":until": now + grace},
    )


def change_limits(key_id: str, old: Limits, new: Limits, *, now: float) -> Update:
    """Set limits, and give what is left in the windows that run the difference.

    The condition is that the limits still are the old ones: who read them before another change reads them again.
    """
    changed = [name for name in LIMIT_NAMES if getattr(old, name) != getattr(new, name)]
    names: dict[str, str] = {}
    update, condition = [], ["attribute_exists(pk)"]
    values: Item = {}
    for number, name in enumerate(changed):
        update.append(f"{name} = :new{number}")
        condition.append(f"{name} = :old{number}")
        values |= {f":new{number}": getattr(new, name), f":old{number}": getattr(old, name)}
    for number, window in enumerate(windows_of(now)):
        if window.limit in changed:
            left, was = f"balance.#w{number}", f":old{changed.index(window.limit)}"
            names[f"#w{number}"] = window.name
            update.append(f"{left} = if_not_exists({left}, {was}) + :by{number}")
            values[f":by{number}"] = getattr(new, window.limit) - getattr(old, window.limit)
    if not changed:
        raise ValueError("no limit changes")
    return Update(account_key(key_id), "SET " + ", ".join(update), " AND ".join(condition), names, values)
