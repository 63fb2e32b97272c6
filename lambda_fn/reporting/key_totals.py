"""What one key ever used, as accounts, ledger and rollups each have it, and where they do not agree. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lambda_fn.metering.accounts import Entry
from lambda_fn.reporting.usage_rows import AMOUNTS, Item, UsageRow

BOOKED = ("requests", "prompt_tokens", "completion_tokens", "cost")
"""What accounts, ledger and rollups all have; of `requests` those that were not refused."""

Amounts = dict[str, int]


def nothing() -> Amounts:
    """Amounts of which all are 0."""
    return dict.fromkeys(BOOKED, 0)


@dataclass(frozen=True)
class Difference:
    """Two places that do not agree about one figure."""

    key: str
    field: str
    """Such as `completion_tokens`; of a rollup with its hour and model: `2026-11-21T06 demo completion_tokens`."""
    places: tuple[str, str]
    """`account` and `ledger`, or `ledger` and `rollup`."""
    values: tuple[int, int]

    def __str__(self) -> str:
        """In one line."""
        return f"{self.key} {self.field}: {self.places[0]} {self.values[0]}, {self.places[1]} {self.values[1]}"


@dataclass
class KeyTotals:
    """All that one key ever used, as each place has it, without what is in flight."""

    key: str
    account: Amounts | None = None
    """None: there is no account."""
    ledger: Amounts = field(default_factory=nothing)
    rollups: Amounts = field(default_factory=nothing)
    """Rollups, and the ledger for the hours that have none yet."""
    refused: int = 0
    open: int = 0
    """Ledger items that are not settled."""
    in_flight: int = 0
    """Requests that the account has reserved for, some of them settled perhaps."""

    def add_ledger(self, row: UsageRow) -> None:
        """Add what the ledger has."""
        add(self.ledger, amounts_of(row))
        self.refused += row.outcomes.get("refused", 0)
        self.open += row.open

    def take(self, account: Item) -> None:
        """Take what an account has booked, without the requests that are to be booked anew."""
        self.account = {name: account.get(name, 0) for name in BOOKED}
        self.in_flight = len(account["in_flight"])
        for entry in map(Entry.read, account["in_flight"].values()):
            if entry.correction is not None:
                add(self.account, {name: getattr(entry.correction.booked, name) for name in BOOKED}, sign=-1)

    def settle_doubt(self, doubtful: Iterable[Amounts]) -> None:
        """Take out of ledger and rollups what the account has not booked yet, of what it may not have booked.

        `doubtful` is in the order of settling. What was booked is the first so many of them, or all count.
        """
        late = list(doubtful)
        for place in range(len(late) + 1):
            rest = {name: sum(one[name] for one in late[place:]) for name in BOOKED}
            if self.account == {name: self.ledger[name] - rest[name] for name in BOOKED}:
                add(self.ledger, rest, sign=-1)
                add(self.rollups, rest, sign=-1)
                return

    def differences(self) -> list[Difference]:
        """Where account and ledger do not agree."""
        return [
            Difference(self.key, name, ("account", "ledger"), (self.account[name], self.ledger[name]))
            for name in BOOKED
            if self.account is not None and self.account[name] != self.ledger[name]
        ]


def add(amounts: Amounts, more: Mapping[str, int], sign: int = 1) -> None:
    """Add amounts to others."""
    for name in BOOKED:
        amounts[name] += sign * more[name]


def amounts_of(row: UsageRow) -> Amounts:
    """Give what of a row is booked on an account."""
    return {name: getattr(row, name) - (row.outcomes.get("refused", 0) if name == "requests" else 0) for name in BOOKED}


def amounts_of_item(item: Item) -> Amounts:
    """Give what a SETTLED ledger item is booked with."""
    return {name: item[name] if name != "requests" else int(item["outcome"] != "refused") for name in BOOKED}


def compared(ledger: Sequence[UsageRow], rollups: Sequence[UsageRow]) -> list[Difference]:
    """Compare an hour's rows one by one, figure by figure."""
    left, right = ({(row.key, row.model): row for row in rows if row.requests} for rows in (ledger, rollups))
    found = []
    for key, model in sorted(left.keys() | right.keys()):
        figures = [_figures(rows.get((key, model))) for rows in (left, right)]
        hour = next(rows[key, model].hour for rows in (left, right) if (key, model) in rows)
        found += [
            Difference(
                key, f"{hour} {model} {name}", ("ledger", "rollup"), (figures[0].get(name, 0), figures[1].get(name, 0))
            )
            for name in sorted(figures[0].keys() | figures[1].keys())
            if figures[0].get(name, 0) != figures[1].get(name, 0)
        ]
    return found


def _figures(row: UsageRow | None) -> Mapping[str, int]:
    if row is None:
        return {}
    return {**{name: getattr(row, name) for name in AMOUNTS}, **row.outcomes}
