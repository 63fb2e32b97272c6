"""Usage by key, model and hour: rollups for closed hours, the ledger itself for those that are still open.

Whoever reports by day, key or model groups these rows; `grouped` does it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lambda_fn.aws.dynamodb import Table

By = Literal["hour", "day", "key", "model"]


@dataclass(frozen=True)
class UsageRow:
    """What one key used of one model in one hour, or a sum of such.

    A field that was summed over is the empty string. Amounts of money are nano-dollars.
    """

    hour: str
    """UTC: `2026-11-21T06`; of a sum by day `2026-11-21`."""
    key: str
    """The key's public id. That of a deleted key stays."""
    model: str
    requests: int
    """Settled ones, the refused among them."""
    prompt_tokens: int
    completion_tokens: int
    cost: int
    recovered: int
    """Of `requests`, those that the sweeper settled from their last checkpoint."""
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """`requests` by outcome; outcomes that did not occur are not in it."""
    open: int = 0
    """Requests that are not settled yet; not in `requests`. Always 0 for closed hours."""


async def usage(table: Table, *, since: str, until: str, key: str | None = None) -> list[UsageRow]:
    """Give the usage of the hours from `since` to before `until`, in the order of hour, key, model.

    Args:
        table: The usage table.
        since: The first hour, UTC: `2026-11-21T06`.
        until: The hour after the last one.
        key: The id of the only key that is asked for; of all when None.

    Raises:
        MeterUnavailable: DynamoDB does not answer.
        ValueError: `since` or `until` is no hour.

    """
    raise NotImplementedError


def grouped(rows: Iterable[UsageRow], by: Iterable[By]) -> list[UsageRow]:
    """Sum rows that agree in `by`, such as `("day", "key")`; sorted by hour, key, model."""
    raise NotImplementedError
