"""Alerts about budgets: which levels are reached, and that each is put once."""

import asyncio

import msgspec
import pytest

from lambda_fn.metering import accounts, budget_alerts
from lambda_fn.metering.accounts import Account, Hold
from lambda_fn.metering.budget_alerts import Alert, Noted, levels, reached, refused
from lambda_fn.metering.keys import ALERT_OPEN, ALERT_PARTITION
from lambda_fn.metering.rejections import LimitReached
from lambda_fn.metering.windows import Window, windows_of
from tests.support.ground import Ground, Killed, T, request_ids

KEY = "sk-abcdefghijkl-" + "0" * 43
MONTH = "2026-11"


def account(*, spent: int = 0, held: int = 0, limit: int = 1000, tokens: int = 0) -> Account:
    """Return an account that has spent and holds an amount of its month's budgets."""
    limits = accounts.Limits(cost_month=limit, tokens_month=1000)
    item = accounts.new_account(KEY, name="a name", now=T, owner="an owner", limits=limits)
    item["balance"] = {
        f"cost#{MONTH}": limit - spent - held,
        f"tokens#{MONTH}": 1000 - tokens,
        f"cost#{MONTH}-21": 7,
    }
    if held:
        item["in_flight"] = {next(request_ids(1)): Hold(1, 0, held, "", "m").text}
    return Account.of(item)


@pytest.mark.parametrize(
    ("spent", "held", "expected"),
    [
        (0, 0, []),
        (499, 0, []),
        (499, 501, []),  # what is held may be released
        (500, 0, [50]),
        (799, 201, [50]),
        (800, 200, [50, 80]),
        (1000, 0, [50, 80, 100]),
        (1200, 0, [50, 80, 100]),  # a budget that was lowered
    ],
)
def test_levels_are_of_what_is_spent(spent: int, held: int, expected: list[int]) -> None:
    """A level is reached by what was settled, and not by what requests in flight hold."""
    alerts = list(reached(account(spent=spent, held=held), when=T))
    assert [alert.level for alert in alerts] == expected
    assert levels(spent, 1000) == expected
    for alert in alerts:
        assert (alert.what, alert.spent, alert.limit, alert.month) == ("cost", spent, 1000, MONTH)
        assert (alert.name, alert.owner) == ("a name", "an owner")


@pytest.mark.parametrize(
    ("spent", "held", "needed", "rings"),
    [
        (800, 0, 201, True),
        (800, 0, 200, False),  # it was refused for another reason
        (799, 0, 500, False),  # the request is too large, and the budget is not used up
        (800, 150, 200, False),  # what is held may be released
        (900, 50, 101, True),
        (1000, 0, 1, True),
        (1200, 0, 1, True),  # a budget that was lowered
        (0, 0, 2000, False),
    ],
)
def test_the_first_refusal_rings(spent: int, held: int, needed: int, rings: bool) -> None:
    """A budget whose rest is too small for a request is told as one that is spent."""
    alert = refused(refusal(account(spent=spent, held=held), needed))
    expected = Alert(MONTH, "abcdefghijkl", "cost", 100, 1000, spent, "a name", "an owner")
    assert alert == (expected if rings else None)


def test_only_budgets_of_a_month_ring() -> None:
    """The limits of a minute, a day, and of streams at once have no alerts."""
    spent = account(spent=1000)
    found = [refused(refusal(spent, 5, window)) for window in windows_of(T)]
    assert [alert.what for alert in found if alert is not None] == ["cost"]
    assert refused(LimitReached(spent, "max_streams", 0, 1, None)) is None


def refusal(account: Account, needed: int, window: Window | None = None) -> LimitReached:
    """Return the rejection of a request that needs an amount of a window, or the month's cost."""
    window = window or windows_of(T)[-1]
    return LimitReached(account, window.limit, account.remaining(window), needed, window)


def test_each_budget_of_the_month_counts() -> None:
    """Tokens have levels of their own; another month and a budget of a day have none."""
    assert [alert.what for alert in reached(account(tokens=500), when=T)] == ["tokens"]
    assert list(reached(account(spent=1000), when=T + 31 * 86_400)) == []
    unlimited = accounts.new_account(KEY, name="n", now=T)
    assert list(reached(Account.of(unlimited), when=T)) == []


async def test_an_alert_is_put_once(ground: Ground) -> None:
    """Two environments see a level, and one item is there; a raised budget is told of again."""
    one, other = Noted(), Noted()
    for noted in (one, one, other):
        await noted.note(ground.table, account(spent=500), when=T, now=T)
    (item,) = ground.items(ALERT_PARTITION)
    assert (item["open"], item["due"]) == (ALERT_OPEN, int(T))
    assert Alert.of(item).level == 50
    await one.note(ground.table, account(spent=800), when=T, now=T)
    await one.note(ground.table, account(spent=800, limit=1600), when=T, now=T)
    assert [item["sk"] for item in ground.items(ALERT_PARTITION)] == [
        f"{MONTH}#abcdefghijkl#cost#50#1000",
        f"{MONTH}#abcdefghijkl#cost#50#1600",
        f"{MONTH}#abcdefghijkl#cost#80#1000",
    ]


async def test_what_was_seen_is_not_written_again(ground: Ground) -> None:
    """An environment writes a level once, and those of the next month again."""
    noted, table = Noted(), ground.mortal(-1)
    for _ in range(3):
        await noted.note(table, account(spent=1000), when=T, now=T)
    assert table.calls == 3  # one for each level


async def test_a_flood_of_refusals_writes_once(ground: Ground) -> None:
    """Requests that are refused at the same time write one item, and later ones nothing."""
    noted, table = Noted(), ground.mortal(-1)
    reached = refusal(account(spent=900), 101)
    for _ in range(2):
        await asyncio.gather(*(noted.refused(table, reached, now=T) for _ in range(20)))
    assert table.calls == 1
    await noted.note(table, account(spent=1000), when=T, now=T)
    assert table.calls == 3  # 50 and 80 %
    assert [item["spent"] for item in ground.items(ALERT_PARTITION)] == [900, 1000, 1000]


async def test_a_write_that_fails_is_made_by_the_next_refusal(ground: Ground) -> None:
    """An alert is remembered only if it was written."""
    noted = Noted()
    reached = refusal(account(spent=900), 101)
    with pytest.raises(Killed):
        await noted.refused(ground.mortal(0), reached, now=T)
    await noted.refused(ground.table, reached, now=T)
    assert len(ground.items(ALERT_PARTITION)) == 1


def test_an_item_is_read_as_it_was_written() -> None:
    """All members come back."""
    alert = Alert(MONTH, "abcdefghijkl", "tokens", 80, 100, 85, "a # name", "an owner")
    assert Alert.of(alert.item(now=5)) == alert
    assert msgspec.structs.replace(alert, limit=200).key != alert.key
    assert budget_alerts.DEPLOYMENT not in alert.key["sk"]
