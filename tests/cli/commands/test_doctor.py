"""`sluice doctor`; tests/e2e/test_doctor.py reads a deployed stack."""

import json
from dataclasses import replace
from typing import Any

import boto3
import pytest

from cli.commands import doctor
from cli.lib.project import CommandError
from cli.main import main
from infra.limits import LIMITS
from local.limits import value
from model.settings import Settings

DEPLOYED = doctor.Deployed(
    read_timeout=LIMITS.cloudfront_read,
    lambda_timeout=LIMITS.lambda_timeout,
    memory=512,
    concurrency=None,
    models={},
    endpoint="e",
    instances=1,
    startup=300,
    container=Settings(engine="scripted", model_name="m"),
    heartbeat=12.0,
)


def test_the_heartbeat_is_the_one_that_was_set() -> None:
    """The table shows the deployed function's heartbeat.

    A heartbeat that leaves no room before the timeout is a contradiction.
    """
    rows = [
        row for row in doctor.rows(replace(DEPLOYED, heartbeat=11.0)) if row.limit == "heartbeat"
    ]
    assert (rows[0].hop, rows[0].value, rows[0].source) == ("function", 11.0, "deployed")
    assert doctor.contradictions(DEPLOYED) == []
    assert any(
        "heartbeat" in text for text in doctor.contradictions(replace(DEPLOYED, heartbeat=31.0))
    )


@pytest.mark.parametrize(
    ("status", "expires", "wrong"),
    [
        ("ACTIVE", True, []),
        ("MISSING", False, ["the table of kept answers, streams, is MISSING"]),
        ("ACTIVE", False, ["its time to live is off"]),
    ],
)
def test_the_table_of_kept_answers(status: str, *, expires: bool, wrong: list[str]) -> None:
    """It has to be there, and to remove what is over its time. The recall function has a row."""
    kept = doctor.Kept("streams", status, expires=expires, concurrency=7)
    deployed = replace(DEPLOYED, kept=kept)
    found = doctor.contradictions(deployed)
    assert [part in text for part, text in zip(wrong, found, strict=True)] == [True] * len(wrong)
    [row] = [row for row in doctor.rows(deployed) if "recall" in row.limit]
    assert row.value == 7
    assert not [row for row in doctor.rows(DEPLOYED) if "recall" in row.limit]


def test_a_table_that_is_not_there() -> None:
    """It is told as missing, and a deployment that keeps nothing has none."""

    class Dynamodb:
        class exceptions:  # noqa: N801 (boto3's name)
            class ResourceNotFoundException(Exception): ...

        def describe_table(self, **_: Any) -> dict[str, Any]:
            raise self.exceptions.ResourceNotFoundException

    class Lambda:
        def get_function_concurrency(self, **_: Any) -> dict[str, Any]:
            return {"ReservedConcurrentExecutions": 5}

    outputs = {"RecallFunctionName": "recall"}
    found = doctor._kept(Dynamodb(), Lambda(), {"SLUICE_STREAM_TABLE": "streams"}, outputs)
    assert found == doctor.Kept("streams", "MISSING", expires=False, concurrency=5)
    assert doctor._kept(Dynamodb(), Lambda(), {}, {}) is None


def test_sockets() -> None:
    """A deployment with sockets has their rows, and a function that is switched off is told."""
    rows = doctor.rows(replace(DEPLOYED, sockets=doctor.Sockets(100, 20)))
    added = rows[:]
    for row in doctor.rows(DEPLOYED):
        added.remove(row)
    assert {row.hop for row in added} == {"API Gateway", "Lambda", "function"}
    values = {row.limit: row.value for row in added}
    assert values["reserved concurrency of sockets"] == 100
    assert values["reserved concurrency of their control"] == 20
    assert values["frame of a socket"] == value("apigateway_frame")
    assert values["message of a socket"] == value("apigateway_message")
    assert doctor.tightest(rows) == doctor.tightest(doctor.rows(DEPLOYED))
    off = replace(DEPLOYED, sockets=doctor.Sockets(100, 0))
    [wrong] = doctor.contradictions(off)
    assert "the control function of sockets gets no events" in wrong


def test_the_functions_of_sockets() -> None:
    """The control function is found by its logical id. Without sockets there is neither."""

    class Lambda:
        def get_function_concurrency(self, **named: Any) -> dict[str, Any]:
            counts = {"answers": {"ReservedConcurrentExecutions": 100}, "controls": {}}
            return counts[named["FunctionName"]]

    resources = [
        {
            "ResourceType": kind,
            "LogicalResourceId": f"SocketControlFunction{kind[-4:]}",
            "PhysicalResourceId": name,
        }
        for kind, name in (("AWS::Logs::LogGroup", "log"), ("AWS::Lambda::Function", "controls"))
    ]
    outputs = {"SocketFunctionName": "answers"}
    assert doctor._sockets(Lambda(), outputs, resources) == doctor.Sockets(100, None)
    assert doctor._sockets(Lambda(), {}, resources) is None


def test_a_stopped_endpoint_is_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a stopped endpoint, the error names the command that starts it.

    Nothing is read from the endpoint.
    """

    class Stacks:
        def describe_stacks(self, **_: Any) -> dict[str, Any]:
            return {
                "Stacks": [
                    {"Parameters": [{"ParameterKey": "EndpointState", "ParameterValue": "Stopped"}]}
                ]
            }

    monkeypatch.setattr(doctor, "aws_options", lambda _stage: {})
    monkeypatch.setattr(boto3, "client", lambda *_, **__: Stacks())
    with pytest.raises(CommandError, match=r"is stopped.*sluice endpoint start"):
        doctor.read("dev", "sluice")


@pytest.mark.parametrize(("heartbeat", "status"), [(12.0, 0), (31.0, 1)])
def test_programs_read_json(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    heartbeat: float,
    status: int,
) -> None:
    """With `--json` the limits are figures, and contradictions still fail the command."""
    monkeypatch.setattr(doctor, "read", lambda *_: replace(DEPLOYED, heartbeat=heartbeat))
    assert main(["doctor", "--json"]) == status
    printed = json.loads(capsys.readouterr().out)
    [row] = [
        row for row in printed["limits"] if row["limit"] == "heartbeat" and row["hop"] == "function"
    ]
    assert row["value"] == heartbeat
    assert bool(printed["contradictions"]) == bool(status)


def test_alarms_that_ring_are_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An alarm that rings is shown with what it is about. The others are counted."""
    alarms = {
        "AlarmsCompletion": doctor.Alarm("ALARM", "responses [fail]", "data points [40]"),
        "SweeperSilent": doctor.Alarm("INSUFFICIENT_DATA", "a", "b"),
        "SweeperFailing": doctor.Alarm("OK", "c", "d"),
    }
    monkeypatch.setattr(doctor, "read", lambda *_: replace(DEPLOYED, alarms=alarms))
    main(["doctor"])
    shown = capsys.readouterr().out
    assert "Alarm AlarmsCompletion: responses [fail]" in shown
    assert "data points [40]" in shown
    assert "Alarms: 3 in all, 1 ringing, 1 without data yet." in shown
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["alarms"]["AlarmsCompletion"]["state"] == "ALARM"


def test_alarms_are_those_of_the_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alarms of every kind are found by the stack's resources, a hundred in a call."""
    calls: list[list[str]] = []

    class CloudWatch:
        def describe_alarms(self, **members: Any) -> dict[str, Any]:
            calls.append(members["AlarmNames"])
            alarms = [{"AlarmName": name, "StateValue": "OK"} for name in members["AlarmNames"]]
            return {"MetricAlarms": alarms[1:], "CompositeAlarms": alarms[:1]}

    resources = [
        {
            "ResourceType": "AWS::CloudWatch::Alarm",
            "PhysicalResourceId": f"stack-A{number:03}-XYZ",
            "LogicalResourceId": f"A{number:03}0123ABCD",
        }
        for number in range(150)
    ]
    composite = {
        "ResourceType": "AWS::CloudWatch::CompositeAlarm",
        "PhysicalResourceId": "arn:aws:cloudwatch:eu-west-1:123456789012:alarm:stack-Burn-XYZ",
        "LogicalResourceId": "Burn0123ABCD",
    }
    table = {**resources[0], "ResourceType": "AWS::DynamoDB::GlobalTable"}
    found = doctor._alarms(CloudWatch(), [*resources, composite, table])
    assert [len(call) for call in calls] == [100, 51]
    assert [*found] == [*(f"A{number:03}" for number in range(150)), "Burn"]
