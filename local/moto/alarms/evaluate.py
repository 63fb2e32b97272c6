"""Evaluates all alarms over moto's metrics, at a time that the caller names.

An alarm is evaluated each minute over windows of its period that end at a full minute. If its
period is shorter, they end at a multiple of ten seconds. Each change of its state is in its
history, and its actions that are SNS topics are notified. Actions of Application Auto Scaling are
logged, because the local cloud scales nothing. Source: "Using Amazon CloudWatch alarms" of the
CloudWatch user guide.
"""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend, MetricAggregatedDatum, cloudwatch_backends
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core import DEFAULT_ACCOUNT_ID

from local.moto.alarms.expression import ExpressionError, Inputs, Series, evaluate
from local.moto.alarms.rules import RuleError, holds
from local.moto.alarms.states import MORE, Missing, State, state
from local.moto.clients import client

log = logging.getLogger("local.moto")

Key = tuple[str, str, frozenset[tuple[str, str]]]
Points = list[tuple[float, float]]
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}
_MINUTE = 60
_HIGH_RESOLUTION = 10


def install() -> None:
    """Set the state of alarms as AWS does: insufficient data if new, unchanged if changed.

    In moto all begin as OK. PutCompositeAlarm is added, which moto stores but does not offer.
    """
    if CloudWatchBackend.put_metric_alarm.__name__ == "put_as_on_aws":
        return
    put = CloudWatchBackend.put_metric_alarm

    def put_as_on_aws(self: Any, name: str, *args: Any, **members: Any) -> Any:
        before = self.alarms.get(name)
        alarm = put(self, name, *args, **members)
        alarm.state_value = "INSUFFICIENT_DATA" if before is None else before.state_value
        if before is not None:
            alarm.history = before.history
        return alarm

    CloudWatchBackend.put_metric_alarm = put_as_on_aws
    CloudWatchResponse.put_composite_alarm = CloudWatchResponse.put_metric_alarm


def all_regions(now: float) -> list[dict[str, str]]:
    """Evaluate the alarms of every region at a time in Unix seconds.

    Returns:
        Each alarm's `name` and `state`.

    """
    return [
        {"name": alarm.name, "state": alarm.state_value}
        for region, backend in list(cloudwatch_backends[DEFAULT_ACCOUNT_ID].items())
        if backend.alarms
        for alarm in one_region(backend, region, now)
    ]


def one_region(backend: Any, region: str, now: float) -> list[Any]:
    """Evaluate the alarms of one region: metric alarms, then composite ones. Return them all."""
    alarms = list(backend.alarms.values())
    metrics = [alarm for alarm in alarms if not alarm.rule]
    points = _index(backend, {key for alarm in metrics for key in _keys(alarm)})
    for alarm in metrics:
        try:
            found, reason = _state(alarm, points, now)
        except ExpressionError as error:
            log.warning("the alarm %s is not evaluated: %s", alarm.name, error)
            continue
        _set(alarm, found, reason, region, now)
    states: dict[str, State] = {alarm.name: alarm.state_value for alarm in alarms}
    for alarm in alarms:
        if alarm.rule:
            try:
                found = "ALARM" if holds(alarm.rule, states) else "OK"
            except RuleError as error:
                log.warning("the alarm %s is not evaluated: %s", alarm.name, error)
                continue
            _set(alarm, found, f"{alarm.rule} is {found == 'ALARM'}", region, now)
            states[alarm.name] = alarm.state_value
    return alarms


def _index(backend: Any, wanted: set[Key]) -> dict[Key, list[Any]]:
    """Return the stored data of the metrics that alarms name."""
    names = {(namespace, name) for namespace, name, _ in wanted}
    found: defaultdict[Key, list[Any]] = defaultdict(list)
    for datum in list(backend.metric_data):
        if (datum.namespace, datum.name) in names:
            dimensions = frozenset((it.name, it.value) for it in datum.dimensions)
            found[datum.namespace, datum.name, dimensions].append(datum)
    return found


def _keys(alarm: Any) -> Iterable[Key]:
    if alarm.metric_name:
        yield alarm.namespace, alarm.metric_name, _dimensions(alarm.dimensions)
    for query in alarm.metric_data_queries:
        if query.metric_stat is not None:
            metric = query.metric_stat.metric
            yield metric.namespace, metric.metric_name, _dimensions(metric.dimensions)


def _dimensions(dimensions: Iterable[Any]) -> frozenset[tuple[str, str]]:
    return frozenset((str(it.name), str(it.value)) for it in dimensions)


def _state(alarm: Any, points: Mapping[Key, list[Any]], now: float) -> tuple[State, str]:
    periods = int(alarm.evaluation_periods)
    needed = int(alarm.datapoints_to_alarm or periods)
    values = _values(alarm, points, now, periods + MORE)
    compare = _COMPARE[alarm.comparison_operator]
    threshold = float(alarm.threshold)
    breaching = [None if value is None else compare(value, threshold) for value in values]
    # Alarms on DynamoDB's metrics always ignore missing data (PutMetricAlarm).
    treat: Missing = alarm.treat_missing_data or "missing"
    if alarm.namespace == "AWS/DynamoDB":
        treat = "ignore"
    found = state(
        breaching, periods=periods, needed=needed, missing=treat, current=alarm.state_value
    )
    shown = ", ".join("-" if value is None else f"{value:.6g}" for value in values)
    return found, f"data points [{shown}], threshold {threshold:g}"


def _values(alarm: Any, points: Mapping[Key, list[Any]], now: float, count: int) -> Series:
    """Return the alarm's data points, oldest first, each of a window of its period."""
    if alarm.metric_name:
        key = (alarm.namespace, alarm.metric_name, _dimensions(alarm.dimensions))
        statistic = alarm.statistic or alarm.extended_statistic
        return _series(points.get(key, []), statistic, int(alarm.period), now, count)
    queries = alarm.metric_data_queries
    [period] = {int(it.metric_stat.period) for it in queries if it.metric_stat is not None} or {60}
    series: dict[str, Series] = {}
    returned: Series | None = None
    # CloudFormation and the API list expressions in any order.
    for query in sorted(queries, key=lambda it: it.metric_stat is None):
        if query.metric_stat is not None:
            metric = query.metric_stat.metric
            key = (metric.namespace, metric.metric_name, _dimensions(metric.dimensions))
            series[query.id] = _series(
                points.get(key, []), query.metric_stat.stat, period, now, count
            )
        else:
            series[query.id] = evaluate(query.expression, Inputs(series, count, period))
        if str(query.return_data).lower() == "true":
            returned = series[query.id]
    if returned is None:
        raise ExpressionError("no expression returns data")
    return returned


def _series(data: Sequence[Any], statistic: str, period: int, now: float, count: int) -> Series:
    step = _MINUTE if period >= _MINUTE else _HIGH_RESOLUTION
    end = math.floor(now / step) * step
    begin = end - count * period
    windows: list[list[Any]] = [[] for _ in range(count)]
    for datum in data:
        at = _unix(datum.timestamp)
        if begin <= at < end:
            windows[int((at - begin) // period)].append(datum)
    return [_statistic(window, statistic) if window else None for window in windows]


def _unix(moment: datetime) -> float:
    """Return a time in Unix seconds. moto's times without a zone are UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _statistic(data: Sequence[Any], statistic: str) -> float:
    sums = [it.sum if isinstance(it, MetricAggregatedDatum) else it.value for it in data]
    counts = [it.sample_count if isinstance(it, MetricAggregatedDatum) else 1.0 for it in data]
    if statistic == "Sum":
        return math.fsum(sums)
    if statistic == "SampleCount":
        return math.fsum(counts)
    if statistic == "Average":
        return math.fsum(sums) / math.fsum(counts)
    if statistic == "Maximum":
        return float(
            max(it.max if isinstance(it, MetricAggregatedDatum) else it.value for it in data)
        )
    if statistic == "Minimum":
        return float(
            min(it.min if isinstance(it, MetricAggregatedDatum) else it.value for it in data)
        )
    if statistic.startswith("p"):
        # Of a statistic set only the average is known.
        each = [total / count for total, count in zip(sums, counts, strict=True)]
        return percentile(each, float(statistic[1:]))
    raise ExpressionError(f"the statistic {statistic} is not evaluated here")


def percentile(values: list[float], percent: float) -> float:
    """Return the value that this percentage of the values is at most."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def _set(alarm: Any, found: State, reason: str, region: str, now: float) -> None:
    before = alarm.state_value
    if found == before:
        return
    data = json.dumps({"evaluatedAt": datetime.fromtimestamp(now, UTC).isoformat()})
    alarm.update_state(reason, data, found)
    log.info("alarm %s: %s -> %s (%s)", alarm.name, before, found, reason)
    if not alarm.actions_enabled:
        return
    actions = {
        "ALARM": alarm.alarm_actions,
        "OK": alarm.ok_actions,
        "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
    }[found]
    for action in actions or ():
        _notify(action, alarm, before, region)


def _notify(action: str, alarm: Any, before: str, region: str) -> None:
    if not action.startswith("arn:aws:sns:"):
        log.info("alarm %s: the action %s has no effect in the local cloud", alarm.name, action)
        return
    message = {
        "AlarmName": alarm.name,
        "AlarmDescription": alarm.description,
        "AlarmArn": alarm.alarm_arn,
        "NewStateValue": alarm.state_value,
        "NewStateReason": alarm.state_reason,
        "OldStateValue": before,
        "Region": region,
    }
    subject = f'{alarm.state_value}: "{alarm.name}" in {region}'[:100]
    try:
        client("sns", action.split(":")[3]).publish(
            TopicArn=action, Subject=subject, Message=json.dumps(message)
        )
    except Exception as error:  # noqa: BLE001 - CloudWatch does not report actions that fail either
        log.warning("alarm %s: %s was not notified: %s", alarm.name, action, error)
