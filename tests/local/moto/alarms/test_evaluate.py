"""The evaluation of alarms over stored metrics."""

from collections.abc import Iterator
from typing import Any

import pytest

from local.moto.alarms.evaluate import percentile
from tests.support.alarms import START, TOPIC, Watch, watching

METRIC = {"Namespace": "N", "MetricName": "M", "Dimensions": [{"Name": "D", "Value": "v"}]}


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Yield a CloudWatch without alarms."""
    with watching(monkeypatch) as found:
        yield found


def alarm(**changes: Any) -> dict[str, Any]:
    """Return a template's resources: an alarm that rises at a sum of 2 in one minute."""
    properties = {
        **METRIC,
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 2,
        "ComparisonOperator": "GreaterThanOrEqualToThreshold",
        "AlarmActions": [TOPIC],
        "OKActions": [TOPIC],
        **changes,
    }
    return {"One": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}}


def test_a_new_alarm_has_insufficient_data(watch: Watch) -> None:
    """An alarm begins with insufficient data, and notifies nobody while there are none."""
    watch.put(alarm())
    assert watch.state("One") == "INSUFFICIENT_DATA"
    watch.advance(60)
    assert (watch.state("One"), watch.told("One")) == ("INSUFFICIENT_DATA", [])


def test_an_alarm_rings_once_and_stops(watch: Watch) -> None:
    """Each change of the state notifies the topic once."""
    watch.put(alarm())
    for values in ([1.0], [1.0, 1.0], [5.0], [0.0]):
        watch.plant("One", {"M": values})
        watch.advance(60)
    assert watch.told("One") == ["OK", "ALARM", "OK"]


def test_a_changed_alarm_keeps_its_state(watch: Watch) -> None:
    """PutMetricAlarm of an alarm that exists leaves its state unchanged."""
    watch.put(alarm())
    watch.plant("One", {"M": [2.0]})
    watch.advance(60)
    watch.put(alarm(Threshold=3))
    assert watch.state("One") == "ALARM"


def test_data_of_the_present_minute_do_not_count_yet(watch: Watch) -> None:
    """A window ends at a full minute."""
    watch.put(alarm())
    watch.plant("One", {"M": [2.0]})
    watch.advance(59)
    assert watch.state("One") == "INSUFFICIENT_DATA"
    watch.advance(1)
    assert watch.state("One") == "ALARM"


def test_long_periods_are_evaluated_each_minute(watch: Watch) -> None:
    """The window of a period of an hour moves by minutes."""
    watch.put(alarm(Period=3600))
    watch.plant("One", {"M": [2.0]})
    watch.advance(60)
    assert watch.state("One") == "ALARM"


def test_other_dimensions_are_other_metrics(watch: Watch) -> None:
    """Data of a metric with more dimensions, or without any, are not the alarm's."""
    watch.put(alarm())
    for dimensions in ([], [*METRIC["Dimensions"], {"Name": "E", "Value": "w"}]):
        data = {"MetricName": "M", "Dimensions": dimensions, "Value": 9.0}
        watch.cloudwatch.put_metric_data(Namespace="N", MetricData=[data])
    watch.advance(60)
    assert watch.state("One") == "INSUFFICIENT_DATA"


def test_m_of_n(watch: Watch) -> None:
    """Two of three bad minutes are enough, wherever the good one is."""
    watch.put(alarm(EvaluationPeriods=3, DatapointsToAlarm=2))
    states = []
    for value in (2.0, 0.0, 2.0, 0.0, 0.0):
        watch.plant("One", {"M": [value]})
        watch.advance(60)
        states.append(watch.state("One"))
    assert states[1:] == ["OK", "ALARM", "OK", "OK"]


@pytest.mark.parametrize(
    ("statistic", "wanted"),
    [("Sum", 10), ("Average", 2.5), ("Minimum", 1), ("Maximum", 4), ("SampleCount", 4), ("p75", 3)],
)
def test_statistics(watch: Watch, statistic: str, wanted: float) -> None:
    """An alarm reads each statistic, percentiles included."""
    key = "ExtendedStatistic" if statistic.startswith("p") else "Statistic"
    named = {"Statistic": None, key: statistic}
    resources = alarm(Threshold=wanted, **named)
    properties = resources["One"]["Properties"]
    resources["One"]["Properties"] = {k: v for k, v in properties.items() if v is not None}
    above = {**resources["One"]["Properties"], "Threshold": wanted + 0.01}
    higher = {"Type": "AWS::CloudWatch::Alarm", "Properties": above}
    watch.put({**resources, "Two": higher})
    watch.plant("One", {"M": [4.0, 1.0, 3.0, 2.0]})
    watch.advance(60)
    assert (watch.state("One"), watch.state("Two")) == ("ALARM", "OK")


def test_an_expression_that_is_not_evaluated_changes_nothing(
    watch: Watch, caplog: pytest.LogCaptureFixture
) -> None:
    """An alarm with unknown math keeps its state, and a warning names it."""
    properties = {
        key: value for key, value in alarm()["One"]["Properties"].items() if key not in METRIC
    }
    del properties["Statistic"], properties["Period"]
    stat = {"Metric": METRIC, "Period": 60, "Stat": "Sum"}
    properties["Metrics"] = [
        {"Id": "e", "Expression": "RATE(m)", "ReturnData": True},
        {"Id": "m", "MetricStat": stat, "ReturnData": False},
    ]
    watch.put({"One": {"Type": "AWS::CloudWatch::Alarm", "Properties": properties}})
    watch.advance(60)
    assert watch.state("One") == "INSUFFICIENT_DATA"
    assert "One is not evaluated" in caplog.text


def test_the_clock_is_the_test_s(watch: Watch) -> None:
    """Data of long ago do not count, whenever the test runs."""
    watch.put(alarm())
    watch.plant("One", {"M": [2.0]})
    watch.advance(60)
    watch.advance(86_400)
    assert watch.now == START + 86_460
    assert watch.state("One") == "INSUFFICIENT_DATA"


def test_percentiles() -> None:
    """The percentile is the least value that so many values are at most."""
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, it) for it in (0, 50, 95, 99.5, 100)] == [1, 50, 95, 100, 100]
