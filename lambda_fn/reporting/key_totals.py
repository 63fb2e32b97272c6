"""The totals of a key in account, ledger and rollups, and where the three differ. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lambda_fn.metering.accounts import Hold
from lambda_fn.reporting.usage_rows import AMOUNTS, Item, UsageRow

BOOKED = ("requests", "prompt_tokens", "completion_tokens", "cost")
"""The figures that account, ledger and rollups all have. `requests` does not count refused ones."""

Amounts = dict[str, int]


def nothing() -> Amounts:
    """Return amounts that are all 0."""
    return dict.fromkeys(BOOKED, 0)


@dataclass(frozen=True)
class Difference:
    """Two places that differ in one figure."""

    key: str
    field: str
    """The figure, such as `completion_tokens`.

    For a rollup, hour and model precede it: `2026-11-21T06 demo completion_tokens`.
    """
    places: tuple[str, str]
    """`account` and `ledger`, or `ledger` and `rollup`."""
    values: tuple[int, int]

    def __str__(self) -> str:
        """Return the difference as one line."""
        left, right = (
            f"{place} {value}" for place, value in zip(self.places, self.values, strict=True)
        )
        return f"{self.key} {self.field}: {left}, {right}"


@dataclass
class KeyTotals:
    """The totals of one key in each place, without its requests in flight."""

    key: str
    account: Amounts | None = None
    """None if there is no account."""
    ledger: Amounts = field(default_factory=nothing)
    rollups: Amounts = field(default_factory=nothing)
    """Rollups, and the ledger for the hours that have none yet."""
    refused: int = 0
    open: int = 0
    """Ledger items that are not settled."""
    in_flight: int = 0
    """Holds of the account; some of their requests may be settled."""

    def add_ledger(self, row: UsageRow) -> None:
        """Add a row of the ledger."""
        add(self.ledger, amounts_of(row))
        self.refused += row.outcomes.get("refused", 0)
        self.open += row.open

    def set_account(self, account: Item) -> None:
        """Set the amounts that an account has booked, without requests that are being corrected."""
        self.account = {name: account.get(name, 0) for name in BOOKED}
        self.in_flight = len(account["in_flight"])
        for hold in map(Hold.parse, account["in_flight"].values()):
            if hold.correction is not None:
                add(
                    self.account,
                    {name: getattr(hold.correction.booked, name) for name in BOOKED},
                    sign=-1,
                )

    def settle_doubt(self, doubtful: Iterable[Amounts]) -> None:
        """Subtract from ledger and rollups the amounts that the account has not booked yet.

        `doubtful` are the amounts that it may not have booked, sorted by settlement time. Assume
        that it has booked a prefix of them. Subtract the shortest suffix that makes account and
        ledger agree. If none does, subtract nothing.
        """
        late = list(doubtful)
        for place in range(len(late) + 1):
            unbooked = {name: sum(amounts[name] for amounts in late[place:]) for name in BOOKED}
            if self.account == {name: self.ledger[name] - unbooked[name] for name in BOOKED}:
                add(self.ledger, unbooked, sign=-1)
                add(self.rollups, unbooked, sign=-1)
                return

    def differences(self) -> list[Difference]:
        """Return the figures in which account and ledger differ."""
        return [
            Difference(
                self.key, name, ("account", "ledger"), (self.account[name], self.ledger[name])
            )
            for name in BOOKED
            if self.account is not None and self.account[name] != self.ledger[name]
        ]


def add(amounts: Amounts, other: Mapping[str, int], sign: int = 1) -> None:
    """Add amounts to others in place; `sign` -1 subtracts them."""
    for name in BOOKED:
        amounts[name] += sign * other[name]


def amounts_of(row: UsageRow) -> Amounts:
    """Return the amounts that an account is charged for a row."""
    refused = row.outcomes.get("refused", 0)
    return {name: getattr(row, name) - (refused if name == "requests" else 0) for name in BOOKED}


def amounts_of_item(item: Item) -> Amounts:
    """Return the amounts that an account is charged for a SETTLED ledger item."""
    return {
        name: item[name] if name != "requests" else int(item["outcome"] != "refused")
        for name in BOOKED
    }


def compare_rows(ledger: Sequence[UsageRow], rollups: Sequence[UsageRow]) -> list[Difference]:
    """Return the figures in which the rows of an hour differ."""
    left, right = (
        {(row.key, row.model): row for row in rows if row.requests} for rows in (ledger, rollups)
    )
    differences = []
    for key, model in sorted(left.keys() | right.keys()):
        of_ledger, of_rollup = (_figures(rows.get((key, model))) for rows in (left, right))
        hour = next(rows[key, model].hour for rows in (left, right) if (key, model) in rows)
        for name in sorted(of_ledger.keys() | of_rollup.keys()):
            values = (of_ledger.get(name, 0), of_rollup.get(name, 0))
            if values[0] != values[1]:
                differences.append(
                    Difference(key, f"{hour} {model} {name}", ("ledger", "rollup"), values)
                )
    return differences


def _figures(row: UsageRow | None) -> Mapping[str, int]:
    if row is None:
        return {}
    return {**{name: getattr(row, name) for name in AMOUNTS}, **row.outcomes}
