"""The sweeper's handler: its settings, its metrics, and its end before the deadline."""

import asyncio
import json
import time
from typing import Any

import pytest

from lambda_fn.ids import new_request_id
from lambda_fn.metering import hours, ledger
from lambda_fn.metering.keys import SENT_KEY
from lambda_fn.settings import SettingsError
from lambda_fn.sweep.handler import SweepFailed, handler
from tests.support.ground import Ground, T, live, opening


class Context:
    """An invocation with some seconds left."""

    def __init__(self, seconds: float) -> None:
        """Set the seconds until the function is killed."""
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the function is killed."""
        return int(self._seconds * 1000)


@pytest.fixture
async def environment(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Set the variables of the deployment and Lambda.

    Rollups are made up to now, because the function reads the clock.
    """
    hour = hours.hour_at(time.time())
    await ground.table.put({"pk": "USAGE", "sk": "ROLLED", "since": hour, "until": hour})
    variables = {
        "AWS_REGION": "eu-west-1",
        "AWS_ENDPOINT_URL": ground.url,
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "SECRET",
        "AWS_SESSION_TOKEN": "TOKEN",
        "SLUICE_USAGE_TABLE": ground.name,
        "SLUICE_DEPLOYMENT": "sluice-test",
        "SLUICE_OVERDUE_SECONDS": "30.5",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


async def invoke(seconds: float = 200) -> dict[str, Any]:
    """Invoke the handler in a thread, because it starts an event loop."""
    return await asyncio.to_thread(handler, {}, Context(seconds))


@pytest.mark.usefixtures("environment")
async def test_counts_are_metrics(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts are returned, and logged in the embedded metric format by deployment."""
    await live(ground.table, ground, new_request_id(T), None, checkpoint=3)
    counts = await invoke()
    assert counts["Recovered"] == counts["Overdue"] == 1
    *_, line = map(json.loads, capsys.readouterr().out.splitlines())
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert (directive["Namespace"], directive["Dimensions"]) == ("Sluice", [["Deployment"]])
    assert {metric["Name"]: line[metric["Name"]] for metric in directive["Metrics"]} == counts
    assert (line["Deployment"], line["_aws"]["Timestamp"] > 1e12) == ("sluice-test", True)
    assert ground.item(ground.items("LEDGER#")[0]["sk"])["completion_tokens"] == 3


@pytest.mark.usefixtures("environment")
async def test_without_time_it_takes_nothing_up(ground: Ground) -> None:
    """Without remaining time the sweep is unfinished and changes nothing."""
    await live(ground.table, ground, new_request_id(T), None)
    before = ground.items("LEDGER#")
    assert await invoke(20) == {
        "Overdue": 0,
        "Recovered": 0,
        "Failures": 0,
        "RollupHours": 0,
        "RollupsAgain": 0,
        "Erased": 0,
        "Unfinished": 1,
    }
    assert ground.items("LEDGER#") == before


@pytest.mark.usefixtures("environment")
async def test_what_fails_fails_the_invocation(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    """An item that cannot be swept fails the invocation, which raises the alarm.

    The log names the item.
    """
    item = ledger.opening_item(opening(ground, new_request_id(T)))
    await ground.table.put({name: value for name, value in item.items() if name != "key"})
    with pytest.raises(SweepFailed):
        await invoke()
    assert item["sk"] in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLUICE_USAGE_TABLE", ""),
        ("SLUICE_DEPLOYMENT", ""),
        ("SLUICE_OVERDUE_SECONDS", "soon"),
        ("SLUICE_OVERDUE_SECONDS", "0"),
        ("SLUICE_OVERDUE_SECONDS", "nan"),
    ],
)
async def test_settings_that_make_no_sense(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The error for a missing or malformed variable names it."""
    assert name in environment
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        await invoke()


@pytest.mark.usefixtures("environment")
async def test_figures_of_keys_are_sent_if_the_variable_says_so(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first sweep notes from which hour on figures are sent."""
    await invoke()
    assert SENT_KEY["sk"] not in {item["sk"] for item in ground.items("USAGE")}
    monkeypatch.setenv("SLUICE_KEY_METRICS", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL_CLOUDWATCH", "http://127.0.0.1:1")
    await invoke()
    [item] = [item for item in ground.items("USAGE") if item["sk"] == SENT_KEY["sk"]]
    [rolled] = [item for item in ground.items("USAGE") if item["sk"] == "ROLLED"]
    assert item["until"] == rolled["until"]
