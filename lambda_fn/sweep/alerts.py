"""Sends the alerts about budgets that wait in the table."""

from collections.abc import Callable

from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table, Update
from lambda_fn.aws.sns import Topic
from lambda_fn.log import log
from lambda_fn.metering.budget_alerts import DEPLOYMENT, Alert
from lambda_fn.metering.hours import hour_at
from lambda_fn.metering.keys import ALERT_OPEN, OVERDUE_INDEX
from lambda_fn.metering.money import to_text


async def send(
    table: Table,
    topic: Topic | None,
    *,
    deployment: str,
    now: float,
    stop: Callable[[], bool],
) -> int:
    """Send each alert, mark it as sent, and return their number.

    A sweeper that is killed between the two sends it again. Without a topic, an alert is only
    logged.

    Raises:
        MeterUnavailable: DynamoDB does not answer; the next sweep sends the rest.
        NotPublished: SNS did not take it; the next sweep sends it.

    """
    waiting = Query(
        "#open = :open AND due <= :now",
        {":open": ALERT_OPEN, ":now": int(now)},
        names={"#open": "open"},
        index=OVERDUE_INDEX,
    )
    sent = 0
    async for key in table.query_all(waiting):
        if stop():
            break
        item = await table.get({"pk": key["pk"], "sk": key["sk"]})
        if item is None or "open" not in item:
            continue  # the index lags behind
        alert = Alert.of(item)
        if topic is not None:
            await topic.publish(*message(alert, deployment, now=now))
        figures = {"what": alert.what, "spent": alert.spent, "limit": alert.limit}
        log("budget_alert", key=alert.key_id, month=alert.month, level=alert.level, **figures)
        sent += await _mark_sent(table, alert, now)
    return sent


def message(alert: Alert, deployment: str, *, now: float) -> tuple[str, str]:
    """Return the subject and the text of an alert."""
    is_key = alert.key_id != DEPLOYMENT
    if is_key:
        who, budget = f"Key {_ascii(alert.name) or alert.key_id}", "its budget"
        remedy = "are refused until the next month (UTC), or until its budget is raised."
    else:
        who, budget = f"Deployment {deployment}", "its ceiling"
        remedy = "are refused until the next month (UTC), or until monthly_ceiling is raised."
    share, closing = f"has spent {alert.level} % of", []
    if alert.level >= 100:
        closing = ["", f"{'Requests of the key' if is_key else 'Requests'} {remedy}"]
        if alert.spent < alert.limit:
            share = "has used up"
            refused = "A request was refused, because it might have needed more than the rest."
            closing = ["", refused, f"Such requests {remedy}"]
        if alert.month < hour_at(now)[:7]:
            closing[-1] = "The month is over, so no request is refused for this any more."
    lines = [
        f"{who} {share} {budget} of {alert.what} for {alert.month}.",
        "",
        f"Deployment: {deployment}",
        *([f"Key: {alert.key_id}"] if is_key else []),
        *([f"Owner: {alert.owner}"] if alert.owner else []),
        f"Spent: {_amount(alert, alert.spent)} of {_amount(alert, alert.limit)}",
        *closing,
    ]
    return f"{deployment}: {who} {share} {budget}", "\n".join(lines)


def _amount(alert: Alert, amount: int) -> str:
    return f"{to_text(amount)} USD" if alert.what == "cost" else f"{amount:,} tokens"


def _ascii(name: str) -> str:
    """Return a name that a subject can have: printable ASCII, 40 characters at most."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in name)[:40].strip()


async def _mark_sent(table: Table, alert: Alert, now: float) -> bool:
    update = Update(
        alert.key,
        "SET sent = :now REMOVE #open, due",
        "#open = :open",
        {"#open": "open"},
        {":now": int(now), ":open": ALERT_OPEN},
    )
    try:
        await table.update(update)
    except ConditionFailed:
        return False
    return True
