"""Rules of Contributor Insights: their definitions are checked, and their reports are computed.

moto keeps rules as they come, and has no GetInsightRuleReport. A rule looks at the log lines that
come after it is made. Of the two formats of logs, only JSON is known here. Sources: "Contributor
Insights rule syntax in CloudWatch" of the CloudWatch user guide, and GetInsightRuleReport of the
API reference.
"""

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from moto.cloudwatch.exceptions import InvalidParameterValue, ResourceNotFoundException
from moto.cloudwatch.models import CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult
from moto.logs.models import logs_backends

_MAX_TEXT = 8192
_MAX_GROUPS = 20
_MAX_KEYS = 4
_MAX_FILTERS = 4
_MAX_IN = 10
_CONTRIBUTORS = 10
"""Contributors of a report that names no number."""
_MAX_CONTRIBUTORS = 100
_STATISTICS = (
    *("UniqueContributors", "MaxContributorValue", "SampleCount"),
    *("Sum", "Minimum", "Maximum", "Average"),
)
_ABSENT = object()

Filter = Callable[[Any, Any], bool]
_FILTERS: dict[str, Filter] = {
    "In": lambda value, operand: value in operand,
    "NotIn": lambda value, operand: value not in operand,
    "StartsWith": lambda value, operand: (
        isinstance(value, str) and value.startswith(tuple(operand))
    ),
    "GreaterThan": lambda value, operand: _is_number(value) and value > operand,
    "LessThan": lambda value, operand: _is_number(value) and value < operand,
    "EqualTo": lambda value, operand: _is_number(value) and value == operand,
    "NotEqualTo": lambda value, operand: _is_number(value) and value != operand,
    "IsPresent": lambda value, operand: (value is not _ABSENT) == operand,
}


class Entry(NamedTuple):
    """What one log line adds: the contributor's keys, and its value, in seconds of Unix time."""

    time: float
    keys: tuple[str, ...]
    value: float


def install() -> None:
    """Check rules when they are put, and answer GetInsightRuleReport."""
    if CloudWatchBackend.put_insight_rule.__name__ == "put_checked":
        return
    put = CloudWatchBackend.put_insight_rule

    def put_checked(
        self: Any, name: str, state: str | None, definition: str, tags: Any = None
    ) -> Any:
        if reason := fault(definition):
            raise InvalidParameterValue(f"The rule's definition is not valid: {reason}")
        if state not in {None, "ENABLED", "DISABLED"}:
            raise InvalidParameterValue(f"RuleState must be ENABLED or DISABLED, not {state}")
        before = self.insight_rules.get(name)
        rule = put(self, name, state or "ENABLED", definition, tags)
        rule.since = time.time() if before is None else before.since
        return rule

    CloudWatchBackend.put_insight_rule = put_checked
    CloudWatchResponse.get_insight_rule_report = _report


def fault(definition: str) -> str:
    """Return what is wrong with a rule's definition, empty if nothing is."""
    if len(definition) > _MAX_TEXT:
        return f"it has at most {_MAX_TEXT} characters"
    try:
        rule = json.loads(definition)
        part = rule["Contribution"]
        keys, filters = part["Keys"], part.get("Filters", [])
        groups = rule["LogGroupNames"]
        checks = [
            (
                rule["Schema"] == {"Name": "CloudWatchLogRule", "Version": 1},
                "Schema is that of CloudWatchLogRule, version 1",
            ),
            (rule["LogFormat"] == "JSON", "the local cloud knows the LogFormat JSON only"),
            (1 <= len(groups) <= _MAX_GROUPS, f"LogGroupNames are 1 to {_MAX_GROUPS}"),
            (
                1 <= len(keys) <= _MAX_KEYS and all(it.startswith("$.") for it in keys),
                f"Keys are 1 to {_MAX_KEYS} paths such as $.name",
            ),
            (rule["AggregateOn"] in {"Count", "Sum"}, "AggregateOn is Count or Sum"),
            (
                rule["AggregateOn"] == "Count" or part.get("ValueOf", "").startswith("$."),
                "a Sum has ValueOf, a path such as $.name",
            ),
            (len(filters) <= _MAX_FILTERS, f"there are at most {_MAX_FILTERS} Filters"),
            (
                all(
                    len(it) == 2
                    and it["Match"].startswith("$.")
                    and (it.keys() - {"Match"}) <= _FILTERS.keys()
                    and len(it.get("In", it.get("NotIn", ()))) <= _MAX_IN
                    for it in filters
                ),
                f"a filter has Match and one of {', '.join(_FILTERS)}, of {_MAX_IN} values at most",
            ),
        ]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"
    return next((says for holds, says in checks if not holds), "")


def entries(definition: str, lines: Iterable[tuple[float, str]]) -> Iterator[Entry]:
    """Yield what lines add to a rule. Each line is its time and its text."""
    part = (rule := json.loads(definition))["Contribution"]
    for when, text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        keys = [_at(line, path) for path in part["Keys"]]
        value = _at(line, part["ValueOf"]) if rule["AggregateOn"] == "Sum" else 1
        if _ABSENT in keys or not _is_number(value):
            continue
        if all(_passes(line, it) for it in part.get("Filters", [])):
            yield Entry(when, tuple(str(key) for key in keys), float(value))


def _passes(line: Any, condition: dict[str, Any]) -> bool:
    [(name, operand)] = ((key, it) for key, it in condition.items() if key != "Match")
    return _FILTERS[name](_at(line, condition["Match"]), operand)


def _at(line: Any, path: str) -> Any:
    for name in path.removeprefix("$.").split("."):
        if not isinstance(line, dict) or name not in line:
            return _ABSENT
        line = line[name]
    return line


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # no float is as large
        return False


def _report(self: Any) -> ActionResult:
    name = self._get_param("RuleName")
    rule = self.cloudwatch_backend.insight_rules.get(name)
    if rule is None:
        raise ResourceNotFoundException(f"There is no rule {name}")
    begin, end = (_unix(self._get_param(it)) for it in ("StartTime", "EndTime"))
    period = int(self._get_param("Period"))
    most = int(self._get_param("MaxContributorCount") or _CONTRIBUTORS)
    metrics = self._get_param("Metrics") or []
    order = self._get_param("OrderBy") or "Sum"
    for holds, says in (
        (begin < end, "StartTime must be before EndTime"),
        (period >= 60 and period % 60 == 0, "Period must be a multiple of 60"),
        (1 <= most <= _MAX_CONTRIBUTORS, f"MaxContributorCount is 1 to {_MAX_CONTRIBUTORS}"),
        (order in {"Sum", "Maximum"}, "OrderBy must be Sum or Maximum"),
        (set(metrics) <= {*_STATISTICS}, f"Metrics are of {', '.join(_STATISTICS)}"),
    ):
        if not holds:
            raise InvalidParameterValue(says)
    logs = logs_backends[self.current_account][self.region]
    lines = _lines(logs, json.loads(rule.definition)["LogGroupNames"], max(begin, rule.since), end)
    found = list(entries(rule.definition, lines)) if rule.state == "ENABLED" else []
    return ActionResult(
        {
            "KeyLabels": json.loads(rule.definition)["Contribution"]["Keys"],
            "AggregationStatistic": json.loads(rule.definition)["AggregateOn"].upper(),
            "AggregateValue": sum(it.value for it in found),
            "ApproximateUniqueCount": len({it.keys for it in found}),
            "Contributors": _contributors(found, period, order)[:most],
            "MetricDatapoints": _datapoints(found, period, metrics) if metrics else [],
        }
    )


def _unix(value: Any) -> float:
    return value.timestamp() if isinstance(value, datetime) else float(value)


def _lines(logs: Any, names: list[str], begin: float, end: float) -> Iterator[tuple[float, str]]:
    for name, group in logs.groups.items():
        if not any(name.startswith(it[:-1]) if it.endswith("*") else name == it for it in names):
            continue
        for stream in group.streams.values():
            for event in stream.events:
                if int(begin * 1000) <= event.timestamp < end * 1000:
                    yield event.timestamp / 1000, event.message


def _contributors(found: list[Entry], period: int, order: str) -> list[dict[str, Any]]:
    points: defaultdict[tuple[str, ...], defaultdict[int, float]] = defaultdict(
        lambda: defaultdict(float)
    )
    for it in found:
        points[it.keys][int(it.time // period) * period] += it.value
    combine = sum if order == "Sum" else max
    return sorted(
        (
            {
                "Keys": list(keys),
                "ApproximateAggregateValue": sum(values.values()),
                "Datapoints": [
                    {"Timestamp": when, "ApproximateValue": value}
                    for when, value in sorted(values.items())
                ],
            }
            for keys, values in points.items()
        ),
        key=lambda it: -combine(one["ApproximateValue"] for one in it["Datapoints"]),
    )


def _datapoints(found: list[Entry], period: int, metrics: list[str]) -> list[dict[str, Any]]:
    periods: defaultdict[int, list[Entry]] = defaultdict(list)
    for it in found:
        periods[int(it.time // period) * period].append(it)
    result = []
    for when, those in sorted(periods.items()):
        values = [it.value for it in those]
        sums: defaultdict[tuple[str, ...], float] = defaultdict(float)
        for it in those:
            sums[it.keys] += it.value
        every = {
            "UniqueContributors": len(sums),
            "MaxContributorValue": max(sums.values()),
            "SampleCount": len(values),
            "Sum": sum(values),
            "Minimum": min(values),
            "Maximum": max(values),
            "Average": sum(values) / len(values),
        }
        result.append({"Timestamp": when, **{name: every[name] for name in metrics}})
    return result
