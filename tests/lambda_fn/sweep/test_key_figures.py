"""The sweeper sends the figures of keys to CloudWatch, an hour at a time."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from lambda_fn.ids import new_request_id
from lambda_fn.metering import hours
from lambda_fn.metering.keys import SENT_KEY
from lambda_fn.reporting.usage_rows import UsageRow
from lambda_fn.sweep import key_figures
from lambda_fn.sweep.key_figures import Figures, bodies
from lambda_fn.sweep.run import NotSent, Sweep, sweep
from tests.support.function import CREDENTIALS
from tests.support.ground import CLOSED, DONE, LONGEST, MODEL, Ground, Killed, T, live, never
from tests.support.otlp import read_gauges

HOUR = hours.hour_at(T)
ENDS = (hours.begins(HOUR) + 3600) * 10**9


class CloudWatch:
    """CloudWatch's endpoint. It answers with `statuses`, one after another, and then with 200."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.url = ""
        self.statuses: list[int] = []
        self.headers: list[dict[str, str]] = []
        self.points: list[dict[str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        """Take a request."""
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.points += read_gauges(await request.read())
        return web.json_response({}, status=status)


@pytest.fixture
async def cloudwatch() -> AsyncIterator[CloudWatch]:
    """Return a running endpoint."""
    found = CloudWatch()
    application = web.Application()
    application.router.add_post("/v1/metrics", found.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


def figures(ground: Ground, url: str) -> Figures:
    """Return what sends figures."""
    return Figures(
        ground.http,
        url=url,
        region="eu-west-1",
        credentials=lambda: CREDENTIALS,
        deployment="sluice-prod",
    )


async def swept(ground: Ground, cloudwatch: CloudWatch, now: float) -> Sweep:
    """Sweep once."""
    return await sweep(
        ground.table,
        now=now,
        longest=LONGEST,
        stop=never,
        figures=figures(ground, cloudwatch.url),
    )


def sent(ground: Ground) -> str:
    """Return the first hour that was not sent."""
    [item] = [item for item in ground.items("USAGE") if item["sk"] == SENT_KEY["sk"]]
    return str(item["until"])


async def begun(ground: Ground, cloudwatch: CloudWatch) -> None:
    """Sweep before the hour of a settled request is closed."""
    await ground.table.put({"pk": "USAGE", "sk": "ROLLED", "v": 1, "since": HOUR, "until": HOUR})
    await live(ground.table, ground, new_request_id(T))
    await swept(ground, cloudwatch, T + 60)
    assert sent(ground) == HOUR
    assert cloudwatch.headers == []


async def test_a_closed_hour_is_sent_once(ground: Ground, cloudwatch: CloudWatch) -> None:
    """Its points have the key's id and the model. The request is signed for CloudWatch."""
    await begun(ground, cloudwatch)
    assert (await swept(ground, cloudwatch, CLOSED)).failures == 0
    assert (await swept(ground, cloudwatch, CLOSED + 300)).failures == 0
    [headers] = cloudwatch.headers
    assert "/eu-west-1/monitoring/aws4_request" in headers["authorization"]
    labels = {"key": ground.key_id, "model": MODEL}
    cost = (DONE.prompt_tokens * 3 + DONE.completion_tokens * 5) / 1e9
    assert cloudwatch.points == [
        {
            "name": f"sluice.key.{name}",
            "unit": unit,
            "time": ENDS,
            "value": value,
            "attributes": labels,
            "resource": {"service.name": "sluice-prod"},
        }
        for name, unit, value in (
            ("requests", "{request}", 1),
            ("input_tokens", "{token}", DONE.prompt_tokens),
            ("output_tokens", "{token}", DONE.completion_tokens),
            ("cost", "USD", cost),
        )
    ]
    assert sent(ground) == hours.following(HOUR)


@pytest.mark.parametrize("status", [403, 429, 503])
async def test_what_fails_is_sent_by_the_next_sweep(
    ground: Ground, cloudwatch: CloudWatch, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sweep fails, which raises the alarm if it goes on, and the hour waits."""
    await begun(ground, cloudwatch)
    cloudwatch.statuses = [status]
    assert (await swept(ground, cloudwatch, CLOSED)).failures == 1
    assert f"status {status}" in capsys.readouterr().out
    assert sent(ground) == HOUR
    assert (await swept(ground, cloudwatch, CLOSED + 300)).failures == 0
    assert len(cloudwatch.points) == 4


async def test_an_endpoint_that_is_away(ground: Ground, cloudwatch: CloudWatch) -> None:
    """No connection is a failure as any other."""
    await begun(ground, cloudwatch)
    await swept(ground, CloudWatchAway(), CLOSED)
    with pytest.raises(NotSent, match=HOUR):
        await figures(ground, CloudWatchAway().url).send(ground.table, now=CLOSED, stop=never)
    assert sent(ground) == HOUR


class CloudWatchAway(CloudWatch):
    """An address at which nothing listens."""

    def __init__(self) -> None:
        """Take a port that nobody may listen on."""
        super().__init__()
        self.url = "http://127.0.0.1:1"


@pytest.mark.parametrize("status", [400, 413])
async def test_what_is_refused_for_good_does_not_hold_up_later_hours(
    ground: Ground, cloudwatch: CloudWatch, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line in the log says which hour is lost."""
    await begun(ground, cloudwatch)
    cloudwatch.statuses = [status]
    assert (await swept(ground, cloudwatch, CLOSED)).failures == 0
    assert f'"figures_lost","hour":"{HOUR}"' in capsys.readouterr().out
    assert sent(ground) == hours.following(HOUR)


@pytest.mark.parametrize("after", [False, True])
async def test_a_sweeper_that_is_killed(
    ground: Ground, cloudwatch: CloudWatch, after: bool
) -> None:
    """Killed at any call of the table, it leaves the hour for the next one, or has sent it.

    An hour that is sent twice has the same points.
    """
    await begun(ground, cloudwatch)
    await sweep(ground.table, now=CLOSED, longest=LONGEST, stop=never)
    kills = 0
    while True:
        try:
            table = ground.mortal(kills, after=after)
            await figures(ground, cloudwatch.url).send(table, now=CLOSED, stop=never)
        except Killed:
            kills += 1
        else:
            break
    assert kills > 2
    assert sent(ground) == hours.following(HOUR)
    unique = {(point["name"], point["time"], point["value"]) for point in cloudwatch.points}
    assert len(unique) == 4


async def test_hours_that_are_too_old_are_left_out(ground: Ground, cloudwatch: CloudWatch) -> None:
    """After a long pause, the last day is sent."""
    await begun(ground, cloudwatch)
    later = CLOSED + 3600 * (key_figures.OLDEST_HOURS + 5)
    result = await swept(ground, cloudwatch, later)
    assert result.hours > key_figures.OLDEST_HOURS
    assert cloudwatch.headers == []
    assert sent(ground) > hours.following(HOUR)


async def test_without_rollups_there_is_nothing_to_send(
    ground: Ground, cloudwatch: CloudWatch
) -> None:
    """Before the first rollup, nothing is sent and nothing is put."""
    to = figures(ground, cloudwatch.url)
    assert await to.send(ground.table, now=CLOSED, stop=never) == 0
    assert ground.items("USAGE") == []


def test_a_request_is_bounded() -> None:
    """Many keys are several requests, each far below CloudWatch's megabyte."""
    row = UsageRow(HOUR, "k" * 12, "m" * 64, 10**9, 10**12, 10**12, 10**15, 0)
    found = list(bodies([row] * (key_figures.ROWS + 1), "d" * 40))
    assert [len(read_gauges(body)) for body in found] == [4 * key_figures.ROWS, 4]
    assert len(found[0]) < 200_000
