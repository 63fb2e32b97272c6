"""A function on the managed runtime in the whole local cloud, in scaled time.

It is invoked, scheduled, logged and measured.
"""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from local.cloud import LocalCloud
from tests.support.local_cloud import Client, Stacks

CODE = """
import json, os, time

def handler(event, context):
    found = {"CloudWatchMetrics": [{"Namespace": "Own", "Metrics": [{"Name": "Runs"}], "Dimensions": [["By"]]}]}
    print(json.dumps({"_aws": {"Timestamp": int(time.time() * 1000), **found}, "Runs": 2, "By": event["by"]}))
    return {"by": event["by"], "word": os.environ["WORD"]}
"""
ASSUME = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": "sts:AssumeRole",
            "Principal": {"Service": ["lambda.amazonaws.com", "scheduler.amazonaws.com"]},
        }
    ],
}
GRANTS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Action": [
                "logs:CreateLogGroup",
                "logs:CreateLogStream",
                "logs:PutLogEvents",
                "lambda:InvokeFunction",
            ],
            "Resource": "*",
        }
    ],
}
ARN = {"Fn::GetAtt": ["Function", "Arn"]}
TEMPLATE: dict[str, Any] = {
    "Role": {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": ASSUME,
            "Policies": [{"PolicyName": "p", "PolicyDocument": GRANTS}],
        },
    },
    "Function": {
        "Type": "AWS::Lambda::Function",
        "Properties": {
            "FunctionName": "told",
            "Code": {"ZipFile": CODE},
            "Handler": "index.handler",
            "Runtime": "python3.14",
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Timeout": 600,
            "Environment": {"Variables": {"WORD": "a"}},
            "LoggingConfig": {"LogGroup": "/own/group", "LogFormat": "Text"},
        },
    },
    "Schedule": {
        "Type": "AWS::Scheduler::Schedule",
        "Properties": {
            "ScheduleExpression": "rate(1 minute)",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "Target": {
                "Arn": ARN,
                "RoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
                "Input": '{"by": "schedule"}',
            },
        },
    },
    "Rule": {
        "Type": "AWS::Events::Rule",
        "Properties": {
            "ScheduleExpression": "rate(1 minute)",
            "Targets": [{"Id": "t", "Arn": ARN, "Input": '{"by": "rule"}'}],
        },
    },
    "Permission": {
        "Type": "AWS::Lambda::Permission",
        "Properties": {
            "FunctionName": ARN,
            "Action": "lambda:InvokeFunction",
            "Principal": "events.amazonaws.com",
            "SourceArn": {"Fn::GetAtt": ["Rule", "Arn"]},
        },
    },
}


@pytest.fixture
def scaled(tmp_path: Path) -> Iterator[Client]:
    """Yield clients of a local cloud in which a minute takes three seconds."""
    cloud = LocalCloud.start(tmp_path, options=["--time-scale", "20"])
    created: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in created:
            created[service] = boto3.client(
                service,
                region_name="us-east-1",
                endpoint_url=cloud.endpoint_url,
                aws_access_key_id=cloud.keys.access_key,
                aws_secret_access_key=cloud.keys.secret_key,
            )
        return created[service]

    yield client
    for client_ in created.values():
        client_.close()
    cloud.stop()


def _eventually(read: Callable[[], Any]) -> Any:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if value := read():
            return value
        time.sleep(0.1)
    return pytest.fail("it did not come to pass")


def test_invoked_scheduled_logged_and_measured(scaled: Client) -> None:
    """Invoke returns, schedules fire, and CloudWatch has logs and metrics.

    A second deployment takes effect.
    """
    stacks = Stacks(scaled)
    stack = stacks.create(TEMPLATE)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    response = scaled("lambda").invoke(FunctionName="told", Payload=json.dumps({"by": "hand"}))
    assert (response["StatusCode"], json.loads(response["Payload"].read())) == (
        200,
        {"by": "hand", "word": "a"},
    )

    def runs(by: str) -> float:
        now = datetime.now(UTC)
        points = scaled("cloudwatch").get_metric_statistics(
            Namespace="Own",
            MetricName="Runs",
            Dimensions=[{"Name": "By", "Value": by}],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=86_400,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    for by in ("hand", "schedule", "rule"):
        assert _eventually(partial(runs, by)) >= 2
    events = scaled("logs").filter_log_events(logGroupName="/own/group")["events"]
    assert any(event["message"].startswith("START RequestId: ") for event in events)
    assert all("/[$LATEST]" in event["logStreamName"] for event in events)

    changed = json.loads(json.dumps(TEMPLATE))
    changed["Function"]["Properties"]["Environment"]["Variables"]["WORD"] = "b"
    del changed["Schedule"], changed["Rule"], changed["Permission"]
    stacks.update(stack, changed)
    response = scaled("lambda").invoke(FunctionName="told", Payload=json.dumps({"by": "hand"}))
    assert json.loads(response["Payload"].read())["word"] == "b"
    response = scaled("lambda").invoke(FunctionName="told", Payload=b"{}")
    assert response["FunctionError"] == "Unhandled"
    assert json.loads(response["Payload"].read())["errorType"] == "KeyError"
