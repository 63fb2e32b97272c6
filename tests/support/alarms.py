"""A CloudWatch in this process: alarms of templates, metrics that a test plants, and a clock."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.cloudwatch.models import CloudWatchBackend, cloudwatch_backends
from moto.core import DEFAULT_ACCOUNT_ID

from local.moto.alarms import evaluate

REGION = "us-east-1"
TOPIC = f"arn:aws:sns:{REGION}:{DEFAULT_ACCOUNT_ID}:people"
START = 1_790_000_400.0
"""A full hour."""


@dataclass
class Watch:
    """The alarms, and the time that the test has reached."""

    cloudwatch: Any
    _queue: Any
    now: float = START
    _resources: dict[str, str] = field(default_factory=dict)

    def put(self, resources: dict[str, Any]) -> list[str]:
        """Put the alarms of a template, named by their logical ids. Return the names."""
        alarms = {
            name: it["Properties"]
            for name, it in resources.items()
            if it["Type"] in {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"}
        }
        for name, properties in alarms.items():
            members = {"AlarmName": name, **_resolved(properties)}
            put = (
                self.cloudwatch.put_composite_alarm
                if "AlarmRule" in properties
                else self.cloudwatch.put_metric_alarm
            )
            put(**members)
        return list(alarms)

    def plant(self, alarm: str, values: dict[str, list[float]]) -> None:
        """Put values of the metrics that an alarm reads, by the metrics' names, as at `now`."""
        for metric in self._metrics(alarm):
            if found := values.get(metric["MetricName"]):
                self.cloudwatch.put_metric_data(
                    Namespace=metric["Namespace"],
                    MetricData=[
                        {
                            "MetricName": metric["MetricName"],
                            "Dimensions": metric["Dimensions"],
                            "Values": found,
                            "Timestamp": datetime.fromtimestamp(self.now, UTC),
                        }
                    ],
                )

    def _metrics(self, name: str) -> list[dict[str, Any]]:
        """Return each metric of an alarm once."""
        described = self.cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        found = [
            query["MetricStat"]["Metric"]
            for alarm in described
            for query in alarm.get("Metrics", [])
            if "MetricStat" in query
        ] or [
            {key: it[key] for key in ("Namespace", "MetricName", "Dimensions")} for it in described
        ]
        return list({json.dumps(it, sort_keys=True): it for it in found}.values())

    def advance(self, seconds: float) -> None:
        """Move the time on, and evaluate all alarms."""
        self.now += seconds
        backend = cloudwatch_backends[DEFAULT_ACCOUNT_ID][REGION]
        evaluate.one_region(backend, REGION, self.now)

    def state(self, name: str) -> str:
        """Return the state of an alarm."""
        backend = cloudwatch_backends[DEFAULT_ACCOUNT_ID][REGION]
        return str(backend.alarms[name].state_value)

    def told(self, name: str) -> list[str]:
        """Return the states of an alarm that its topic was told of since the last call."""
        found = []
        while messages := self._queue.receive_messages(MaxNumberOfMessages=10):
            for message in messages:
                told = json.loads(json.loads(message.body)["Message"])
                if told["AlarmName"] == name:
                    found.append(told["NewStateValue"])
                message.delete()
        return found


def _resolved(value: Any) -> Any:
    """Return properties of a template with each reference replaced by the name that it is of."""
    if isinstance(value, list):
        return [_resolved(it) for it in value]
    if not isinstance(value, dict):
        return value
    if "Ref" in value:
        return value["Ref"]
    if "Fn::GetAtt" in value:
        return ".".join(value["Fn::GetAtt"])
    if "Fn::Join" in value:
        separator, parts = value["Fn::Join"]
        return separator.join(str(_resolved(it)) for it in parts)
    return {key: _resolved(it) for key, it in value.items()}


@contextmanager
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    """Yield a CloudWatch without alarms. Its alarms may notify `TOPIC`."""
    monkeypatch.setattr(CloudWatchBackend, "put_metric_alarm", CloudWatchBackend.put_metric_alarm)
    evaluate.install()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    with mock_aws():
        sns = boto3.client("sns", region_name=REGION)
        queue = boto3.resource("sqs", region_name=REGION).create_queue(QueueName="people")
        sns.create_topic(Name="people")
        sns.subscribe(TopicArn=TOPIC, Protocol="sqs", Endpoint=queue.attributes["QueueArn"])
        monkeypatch.setattr(evaluate, "client", lambda _service, _region: sns)
        cloudwatch = boto3.client("cloudwatch", region_name=REGION)
        yield Watch(cloudwatch, queue)
