"""The sweeper sends the alerts that wait, once each."""

import pytest

from lambda_fn.aws.sns import NotPublished
from lambda_fn.metering.budget_alerts import DEPLOYMENT, Alert, note
from lambda_fn.metering.hours import begins
from lambda_fn.metering.keys import ALERT_PARTITION
from lambda_fn.sweep.alerts import message, send
from lambda_fn.sweep.run import Budgets, sweep
from tests.support.ground import LATER, LONGEST, Ground, Killed, T, never

ALERT = Alert("2026-11", "abcdefghijkl", "cost", 80, 10**10, 8 * 10**9, "Ærlig\nkey", "team")


class Topic:
    """A topic that keeps what it gets, and fails if it is told to."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.sent: list[str] = []
        self.fails = False

    async def publish(self, subject: str, message: str) -> None:
        """Take a message."""
        if self.fails:
            raise NotPublished("status 500")
        self.sent.append(subject + "\n" + message)


async def sent(ground: Ground, topic: Topic | None, *, at: int = -1) -> int:
    """Send what waits. Return the number."""
    table = ground.mortal(at)
    return await send(table, topic, deployment="sluice-prod", now=LATER, stop=never)  # type: ignore[arg-type]


async def test_an_alert_is_sent_once(ground: Ground) -> None:
    """It says who has spent how much of what. It is marked, and not found again."""
    await note(ground.table, ALERT, now=T)
    topic = Topic()
    assert [await sent(ground, topic) for _ in range(2)] == [1, 0]
    (text,) = topic.sent
    assert "80 % of its budget of cost for 2026-11" in text
    assert "8 USD of 10 USD" in text
    assert text.splitlines()[0] == "sluice-prod: Key ?rlig?key has spent 80 % of its budget"
    (item,) = ground.items(ALERT_PARTITION)
    assert item["sent"] == int(LATER)
    assert not {"open", "due"} & item.keys()


async def test_what_is_not_sent_is_sent_later(ground: Ground) -> None:
    """A topic that is down, and a sweeper that is killed, leave the alert for the next sweep."""
    await note(ground.table, ALERT, now=T)
    topic = Topic()
    topic.fails = True
    result = await sweep(
        ground.table,
        now=LATER,
        longest=LONGEST,
        stop=never,
        budgets=Budgets("sluice-prod", None, topic),  # type: ignore[arg-type]
    )
    assert (result.alerts, result.failures) == (0, 1)
    topic.fails = False
    with pytest.raises(Killed):
        await sent(ground, topic, at=2)  # after it was sent, before it is marked
    assert await sent(ground, topic) == 1
    assert len(topic.sent) == 2


async def test_without_a_topic_the_log_tells(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """An alert is logged by the key's id, with neither name nor owner."""
    await note(ground.table, ALERT, now=T)
    assert await sent(ground, None) == 1
    printed = capsys.readouterr().out
    assert '"budget_alert"' in printed
    assert "abcdefghijkl" in printed
    assert "team" not in printed


def test_all_that_is_spent_says_what_follows() -> None:
    """At 100 % it says that requests are refused, and what ends that."""
    spent = Alert("2026-11", DEPLOYMENT, "cost", 100, 10**10, 10**10)
    subject, text = message(spent, "sluice-prod", now=T)
    assert subject == "sluice-prod: Deployment sluice-prod has spent 100 % of its ceiling"
    assert "until monthly_ceiling is raised" in text
    assert "Owner" not in text
    rest = Alert("2026-11", "abcdefghijkl", "tokens", 100, 5000, 4900, "small")
    subject, text = message(rest, "sluice-prod", now=T)
    assert subject == "sluice-prod: Key small has used up its budget"
    assert "4,900 tokens of 5,000 tokens" in text
    assert "A request was refused" in text
    tokens = Alert("2026-11", "abcdefghijkl", "tokens", 100, 5000, 5100, "n" * 200)
    subject, text = message(tokens, "sluice-prod", now=T)
    assert len(subject) <= 100
    assert "5,100 tokens of 5,000 tokens" in text
    assert "Key: abcdefghijkl" in text
    assert "Owner" not in text  # it has none


@pytest.mark.parametrize("spent", [4900, 5000])
def test_an_alert_of_a_past_month_promises_no_refusal(spent: int) -> None:
    """It may be sent after midnight, when the budget is a new one."""
    alert = Alert("2026-11", "abcdefghijkl", "tokens", 100, 5000, spent)
    _, text = message(alert, "sluice-prod", now=begins("2026-12-01T00"))
    assert text.endswith("The month is over, so no request is refused for this any more.")
    assert "until" not in text
