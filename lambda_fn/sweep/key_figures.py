"""Sends the figures of keys, hour by hour, to CloudWatch's OTLP endpoint for metrics.

The figures are those of the rollups. An hour is sent once it has rollups, and an item of the usage
table says which hours were sent. A gauge's point at the end of its hour is the same point if it is
sent twice, so an answer that is lost does no harm. Source: "Send metrics using OpenTelemetry" of
the CloudWatch user guide. That the endpoint needs `cloudwatch:PutMetricData`, and how many points
it takes at once, is unconfirmed.
"""

from collections.abc import Callable, Iterator, Sequence

from lambda_fn.aws.dynamodb import ConditionFailed, Table, Update
from lambda_fn.aws.service import Service
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.metering import hours
from lambda_fn.metering.keys import SENT_KEY, VERSIONED, check_version
from lambda_fn.reporting.rollup_progress import rolled_range
from lambda_fn.reporting.usage_rows import UsageRow, stored_rows
from lambda_fn.sweep.run import NotSent
from lambda_fn.tracing.otlp import CONTENT_TYPE, Gauge, Point, Resource, encode_gauges

ROWS = 100
"""Keys and models in a request: 4 points and some 1 kB each."""
OLDEST_HOURS = 24
"""Older hours are not sent: the endpoint may refuse old points, and nobody watches for them."""
_SECONDS = 5.0
_GAUGES: Sequence[tuple[str, str, Callable[[UsageRow], int | float]]] = (
    ("sluice.key.requests", "{request}", lambda row: row.requests),
    ("sluice.key.input_tokens", "{token}", lambda row: row.prompt_tokens),
    ("sluice.key.output_tokens", "{token}", lambda row: row.completion_tokens),
    ("sluice.key.cost", "USD", lambda row: row.cost / 1e9),
)
"""Each metric with its unit, and its value in a row of an hour."""


class Figures:
    """Where the figures go."""

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        region: str,
        credentials: Callable[[], Credentials],
        deployment: str,
    ) -> None:
        """Set how to reach CloudWatch, and the name of the deployment."""
        self._service = Service(
            client, name="monitoring", url=url, region=region, credentials=credentials
        )
        self._deployment = deployment

    async def send(self, table: Table, *, now: float, stop: Callable[[], bool]) -> int:
        """Send the hours that have rollups and were not sent, and return their number.

        At first nothing is sent: figures begin with the next hour.

        Args:
            table: The usage table.
            now: Unix time.
            stop: Returns whether the time is over. Called before each hour.

        Raises:
            NotSent: CloudWatch does not answer, or refuses for now.
            MeterUnavailable: DynamoDB does not answer.

        """
        rolled = await rolled_range(table)
        if rolled is None:
            return 0
        until = rolled[1]
        stored = await sent_until(table, until)
        hour = max(stored, hours.hour_at(now - OLDEST_HOURS * 3600))
        count = 0
        while hour < until and not stop():
            rows = await stored_rows(table, hour, hours.following(hour))
            for body in bodies(rows, self._deployment):
                await self._post(body, hour)
            if not await _advance(table, stored, hours.following(hour)):
                break  # another process sent it
            stored = hour = hours.following(hour)
            count += 1
        return count

    async def _post(self, body: bytes, hour: str) -> None:
        """Send one request. What is refused for good is lost, and logged; later hours go on."""
        headers = {"content-type": CONTENT_TYPE}
        try:
            reply = await self._service.post(headers, body, path="/v1/metrics", seconds=_SECONDS)
        except TransportError as error:
            raise NotSent(f"OTLP metrics of {hour}: {type(error).__name__}") from error
        if reply.status in {400, 413}:
            log("figures_lost", hour=hour, reason=f"status {reply.status} {reply.error_type}")
        elif not 200 <= reply.status < 300:
            raise NotSent(f"OTLP metrics of {hour}: status {reply.status} {reply.error_type}")


def bodies(rows: Sequence[UsageRow], deployment: str) -> Iterator[bytes]:
    """Yield the requests that have all rows, `ROWS` in each."""
    resource = Resource({"service.name": deployment})
    for start in range(0, len(rows), ROWS):
        some = rows[start : start + ROWS]
        gauges = [
            Gauge(name, unit, [_point(row, figure(row)) for row in some])
            for name, unit, figure in _GAUGES
        ]
        yield encode_gauges(gauges, resource, "sluice")


def _point(row: UsageRow, value: float) -> Point:
    ends = hours.begins(row.hour) + 3600
    return Point(ends * 10**9, value, {"key": row.key, "model": row.model})


async def sent_until(table: Table, until: str) -> str:
    """Return the first hour that was not sent. Before any was, put `until` as that hour."""
    item = await table.get(SENT_KEY)
    if item is None:
        item = {**SENT_KEY, **VERSIONED, "until": until}
        try:
            await table.put(item, condition="attribute_not_exists(pk)")
        except ConditionFailed as failed:
            item = failed.item or item
    check_version(item)
    return str(item["until"])


async def _advance(table: Table, old: str, new: str) -> bool:
    """Move the item from `old` to `new`. Return False if it was not at `old`."""
    update = Update(
        SENT_KEY,
        "SET #until = :new",
        "#until = :old",
        names={"#until": "until"},
        values={":old": old, ":new": new},
    )
    try:
        await table.update(update)
    except ConditionFailed as failed:
        # It may be our own write, from an attempt whose response was lost.
        return failed.item is not None and failed.item["until"] == new
    return True
