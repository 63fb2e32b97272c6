"""Every alarm rings by what it is about, not before it should, and stops when that is over.

The alarms are those of synthesised stacks. The evaluator of the local cloud reads planted metrics,
in a time that the test advances.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Environment

from infra.compose import compose
from infra.settings.deployment import of_stage
from tests.support.alarms import TOPIC, Watch, watching
from tests.support.synthesis import new_app

Values = dict[str, list[float]]
HOUR = 3600


@dataclass(frozen=True)
class Case:
    """What is planted in each step while all is well, and while it is not.

    `steps` is the number of bad steps after which the alarm is to ring, and not before. `rings` is
    its state then. `last` is the number of good steps after which it has stopped: without any new
    data, an alarm looks at the last ones for two periods more.
    """

    good: Values
    bad: Values
    steps: int
    seconds: int = 60
    rings: str = "ALARM"
    last: int = 6


def requests(completed: int, failed: int) -> Values:
    """Return the metrics of this number of requests, each of which has a 0 or a 1."""
    return {
        "Completed": [1.0] * completed + [0.0] * failed,
        "Failed": [0.0] * completed + [1.0] * failed,
    }


TTFT = "gen_ai.server.time_to_first_token"
FINE = requests(60, 0)
BROKEN = requests(30, 30)
CASES: dict[str, Case] = {
    "AlarmsThrottles": Case({}, {"Throttles": [1.0]}, 2),
    "AlarmsRecallThrottles": Case({}, {"Throttles": [1.0]}, 2),
    "AlarmsSocketThrottles": Case({}, {"Throttles": [1.0]}, 2),
    "AlarmsSocketControlThrottles": Case({}, {"Throttles": [1.0]}, 2),
    "AlarmsSocketErrors": Case({"Errors": [0.0]}, {"Errors": [1.0]}, 2),
    "AlarmsSocketDropped": Case({}, {"AsyncEventsDropped": [1.0]}, 2),
    "AlarmsConcurrency": Case(
        {"ConcurrentExecutions": [100.0]}, {"ConcurrentExecutions": [170.0]}, 3
    ),
    "AlarmsCompletion": Case(FINE, BROKEN, 3),
    "AlarmsFirstToken": Case({TTFT: [0.4] * 40}, {TTFT: [0.4] * 36 + [9.0] * 4}, 3),
    "AlarmsEndpointDown": Case(FINE, {"EndedUnavailable": [1.0] * 3, **requests(0, 3)}, 3),
    "AlarmsRejected5xx": Case({}, {"Rejected5xx": [5.0]}, 3),
    "AlarmsUnsaved": Case({}, {"SettlementsUnsaved": [1.0]}, 1, last=20),
    "AlarmsCost": Case({"CostUSD": [0.04]}, {"CostUSD": [1.0]}, 3, last=70),
    "AlarmsFastBurn": Case(FINE, BROKEN, 3, seconds=300, last=2),
    "AlarmsSlowBurn": Case(FINE, BROKEN, 1, seconds=1800, last=2),
    "SweeperRecovered": Case({"Recovered": [0.0]}, {"Recovered": [1.0]}, 1, seconds=300),
    "SweeperFailing": Case({"Errors": [0.0]}, {"Errors": [1.0]}, 2, seconds=300),
    "SweeperSilent": Case({"Invocations": [1.0]}, {}, 3, seconds=900, rings="INSUFFICIENT_DATA"),
    "BackgroundErrors": Case({"Errors": [1.0]}, {"Errors": [2.0]}, 2, seconds=300),
    "StreamReleaseErrors": Case({"Errors": [0.0]}, {"Errors": [1.0]}, 2),
    "StreamReleaseUrl5xxCount": Case({}, {"Url5xxCount": [3.0]}, 2, last=20),
    "RecallReleaseErrors": Case({"Errors": [0.0]}, {"Errors": [1.0]}, 2),
    "RecallReleaseUrl5xxCount": Case({}, {"Url5xxCount": [3.0]}, 2, last=20),
    "SocketReleaseErrors": Case({"Errors": [0.0]}, {"Errors": [1.0]}, 2),
    "SocketControlReleaseErrors": Case({"Errors": [0.0]}, {"Errors": [1.0]}, 2),
    "ModelGuardInvocation5XXErrors": Case({}, {"Invocation5XXErrors": [5.0]}, 2),
    "ModelGuardInvocationModelErrors": Case({}, {"InvocationModelErrors": [10.0]}, 2),
    "Expires": Case({"DaysToExpiry": [200.0]}, {"DaysToExpiry": [20.0]}, 1, seconds=86_400),
}
"""The alarms by the beginning of their logical ids. Parts of composite alarms ring with these."""
PARTS = ("AlarmsFastBurnLong", "AlarmsFastBurnShort", "AlarmsSlowBurnLong", "AlarmsSlowBurnShort")


@pytest.fixture(scope="module")
def resources(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the resources of a deployment in us-east-1 that has every alarm."""
    settings = of_stage("prod").replace(
        alarm_topic=TOPIC,
        websocket=True,
        prompt_price=1.0,
        completion_price=2.0,
        hourly_cost_alarm=3.0,
        domain="api.example.org",
        hosted_zone="Z0123456789:example.org",
    )
    app = new_app(tmp_path_factory.mktemp("alarms"))
    env = Environment(account="123456789012", region="us-east-1")
    compose(app, settings=settings, root=project, env=env)
    return {
        name: resource
        for stack in app.synth().stacks
        for name, resource in stack.template["Resources"].items()
    }


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Yield a CloudWatch without alarms."""
    with watching(monkeypatch) as found:
        yield found


def alone(resources: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return an alarm with its parts, by their logical ids."""
    names = {prefix, *(it for it in PARTS if it.startswith(prefix))}
    return {name: it for name, it in resources.items() if name[:-8] in names}


def named(resources: dict[str, Any], prefix: str) -> str:
    """Return the logical id that is a prefix and CDK's eight hexadecimal digits."""
    [name] = [
        name for name in resources if name[:-8] == prefix and "Alarm" in resources[name]["Type"]
    ]
    return name


def test_every_alarm_has_a_case(resources: dict[str, Any]) -> None:
    """No alarm is left out, and each has a sentence on what happened."""
    alarms = {name: it for name, it in resources.items() if it["Type"].endswith("Alarm")}
    assert {name[:-8] for name in alarms} == {*CASES, *PARTS}
    assert all(len(it["Properties"]["AlarmDescription"]) > 40 for it in alarms.values())
    for name, it in alarms.items():
        notified = it["Properties"].get("AlarmActions", [])
        assert notified == ([] if name[:-8] in PARTS else [TOPIC])


@pytest.mark.parametrize("prefix", CASES)
def test_it_rings_and_stops(prefix: str, watch: Watch, resources: dict[str, Any]) -> None:
    """The alarm is OK while all is well, rings after so many bad steps, and stops."""
    watch.put(alone(resources, prefix))
    name, case = named(resources, prefix), CASES[prefix]
    parts = [named(resources, it) for it in PARTS if it.startswith(prefix)] or [name]

    def step(values: Values) -> str:
        for alarm in parts[:1]:
            watch.plant(alarm, values)
        watch.advance(case.seconds)
        return watch.state(name)

    calm = [step(case.good) for _ in range(5)]
    assert calm[-1] == "OK"
    assert "ALARM" not in calm
    assert watch.told(name) == []
    bad = [step(case.bad) for _ in range(case.steps)]
    assert bad == ["OK"] * (case.steps - 1) + [case.rings]
    assert watch.told(name) == [case.rings]
    assert [step(case.good) for _ in range(case.last)][-1] == "OK"


@pytest.mark.parametrize(
    "prefix", ["AlarmsCompletion", "AlarmsFirstToken", "AlarmsFastBurn", "AlarmsSlowBurn"]
)
def test_little_traffic_rings_nothing(prefix: str, watch: Watch, resources: dict[str, Any]) -> None:
    """Below the floor of traffic a rate says nothing: one failure of two is no incident."""
    watch.put(alone(resources, prefix))
    name = named(resources, prefix)
    part = next((named(resources, it) for it in PARTS if it.startswith(prefix)), name)
    for number in range(12):
        if number % 6 == 0:
            watch.plant(part, {**requests(0, 1), TTFT: [60.0]})
        watch.advance(300)
        assert watch.state(name) == "OK"


def test_a_day_without_requests_rings_nothing(watch: Watch, resources: dict[str, Any]) -> None:
    """A new deployment that nobody calls notifies nobody on its first day."""
    watch.put(resources)
    names = [named(resources, prefix) for prefix in CASES]
    for _ in range(24):
        watch.advance(HOUR)
    assert {name: watch.told(name) for name in names} == {name: [] for name in names}


def test_a_burn_must_go_on_to_ring(watch: Watch, resources: dict[str, Any]) -> None:
    """A short outage that is over does not ring, although an hour's rate is still high."""
    watch.put(alone(resources, "AlarmsFastBurn"))
    name, part = named(resources, "AlarmsFastBurn"), named(resources, "AlarmsFastBurnLong")
    for values in (FINE, BROKEN):
        watch.plant(part, values)
        watch.advance(300)
    long, short = (named(resources, it) for it in PARTS[:2])
    watch.plant(part, FINE)
    watch.advance(300)
    assert (watch.state(long), watch.state(short), watch.state(name)) == ("ALARM", "OK", "OK")
