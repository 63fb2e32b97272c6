"""Rules of Contributor Insights and their reports, as boto3 reads them from moto."""

import datetime
import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.cloudwatch.models import CloudWatchBackend
from moto.cloudwatch.responses import CloudWatchResponse

from local.moto import insight_rules
from local.moto.telemetry import take

GROUP = "group"
RULE: dict[str, Any] = {
    "Schema": {"Name": "CloudWatchLogRule", "Version": 1},
    "LogGroupNames": ["gro*"],
    "LogFormat": "JSON",
    "Contribution": {
        "Keys": ["$.key"],
        "ValueOf": "$.size.bytes",
        "Filters": [{"Match": "$.event", "In": ["request"]}],
    },
    "AggregateOn": "Sum",
}


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(CloudWatchBackend, "put_insight_rule", CloudWatchBackend.put_insight_rule)
    monkeypatch.setattr(CloudWatchResponse, "get_insight_rule_report", None, raising=False)
    with mock_aws():
        insight_rules.install()
        yield


def cloudwatch() -> Any:
    """Return a client."""
    return boto3.client("cloudwatch", region_name="us-east-1")


def write(*lines: object, seconds: float = 0.0) -> None:
    """Write lines into the log, at this many seconds from now."""
    when = datetime.datetime.now(datetime.UTC).timestamp() + seconds
    take(
        [
            {
                "region": "us-east-1",
                "group": GROUP,
                "stream": "stream",
                "timestamp": int(when * 1000),
                "message": line if isinstance(line, str) else json.dumps(line),
            }
            for line in lines
        ]
    )


def request(key: str, size: object, **more: object) -> dict[str, object]:
    """Return a line of a request."""
    return {"event": "request", "key": key, "size": {"bytes": size}, **more}


def report(**members: Any) -> dict[str, Any]:
    """Return the report of the rule for an hour on each side of now."""
    hour, now = datetime.timedelta(hours=1), datetime.datetime.now(datetime.UTC)
    named = {"RuleName": "rule", "StartTime": now - hour, "EndTime": now + hour, "Period": 7200}
    found: dict[str, Any] = cloudwatch().get_insight_rule_report(**{**named, **members})
    return found


def test_contributors_are_summed_up_by_their_keys() -> None:
    """A report has the values of lines that pass the filters and have all members."""
    write(request("before", 5), seconds=-60)
    cloudwatch().put_insight_rule(RuleName="rule", RuleDefinition=json.dumps(RULE))
    write(
        *(request("a", 5), request("b", 20), request("a", 7.5)),
        *("no JSON", "3", {"event": "request"}, request("a", "text"), request("a", True)),
        request("a", 10**400),
        request("a", 1000, event="other"),
    )
    found = report(Metrics=["Sum", "UniqueContributors", "MaxContributorValue"])
    assert found["KeyLabels"] == ["$.key"]
    assert (found["AggregateValue"], found["ApproximateUniqueCount"]) == (32.5, 2)
    assert [(it["Keys"], it["ApproximateAggregateValue"]) for it in found["Contributors"]] == [
        (["b"], 20.0),
        (["a"], 12.5),
    ]
    assert sum(it["Sum"] for it in found["MetricDatapoints"]) == 32.5
    assert len(report(MaxContributorCount=1)["Contributors"]) == 1
    counted = {**RULE, "AggregateOn": "Count"}
    cloudwatch().put_insight_rule(RuleName="rule", RuleDefinition=json.dumps(counted))
    assert report()["AggregateValue"] == 6  # those without a number, too


@pytest.mark.parametrize(
    ("condition", "passes"),
    [
        ({"NotIn": ["a"]}, ["b", 5]),
        ({"StartsWith": ["b", "c"]}, ["b"]),
        ({"GreaterThan": 4}, [5]),
        ({"LessThan": 5}, []),
        ({"EqualTo": 5}, [5]),
        ({"NotEqualTo": 4}, [5]),
        ({"IsPresent": True}, ["a", "b", 5]),
        ({"IsPresent": False}, []),
    ],
)
def test_filters(condition: dict[str, Any], passes: list[object]) -> None:
    """Each operator passes what the user guide says."""
    part = {"Keys": ["$.key"], "Filters": [{"Match": "$.key", **condition}]}
    text = json.dumps({**RULE, "Contribution": part, "AggregateOn": "Count"})
    assert insight_rules.fault(text) == ""
    lines = [(0.0, json.dumps({"key": key})) for key in ("a", "b", 5)]
    assert [it.keys for it in insight_rules.entries(text, lines)] == [(str(it),) for it in passes]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Schema": {"Name": "CloudWatchLogRule", "Version": 2}}, "version 1"),
        ({"LogFormat": "CLF"}, "JSON only"),
        ({"LogGroupNames": []}, "1 to 20"),
        ({"AggregateOn": "Average"}, "Count or Sum"),
        ({"Contribution": {"Keys": ["$.a"]}}, "ValueOf"),
        ({"Contribution": {"Keys": ["a"], "ValueOf": "$.a"}}, "paths"),
        ({"Contribution": {}}, "Keys"),
        ({"Contribution": 5}, "TypeError"),
        ({"more": "x" * 8192}, "8192"),
        (
            {"Contribution": {"Keys": ["$.a"], "ValueOf": "$.a", "Filters": [{"Match": "$.a"}]}},
            "a filter has",
        ),
    ],
)
def test_definitions_that_are_none(change: dict[str, Any], says: str) -> None:
    """A rule that AWS would refuse is refused, with the reason."""
    with pytest.raises(ClientError, match="InvalidParameterValue") as refused:
        cloudwatch().put_insight_rule(
            RuleName="rule", RuleDefinition=json.dumps({**RULE, **change})
        )
    assert says in str(refused.value)
    assert cloudwatch().describe_insight_rules()["InsightRules"] == []


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({"RuleName": "none"}, "ResourceNotFound"),
        ({"Period": 90}, "InvalidParameterValue"),
        ({"MaxContributorCount": 101}, "InvalidParameterValue"),
        ({"OrderBy": "Average"}, "InvalidParameterValue"),
        ({"Metrics": ["p99"]}, "InvalidParameterValue"),
        ({"EndTime": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}, "InvalidParameterValue"),
    ],
)
def test_reports_that_are_refused(members: dict[str, Any], code: str) -> None:
    """What a report cannot be asked for has the API's error."""
    cloudwatch().put_insight_rule(RuleName="rule", RuleDefinition=json.dumps(RULE))
    with pytest.raises(ClientError, match=code):
        report(**members)
