"""Custom resources of the local CloudFormation."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from local.cloudformation import custom
from local.cloudformation.custom import CustomResource
from local.cloudformation.resource import Context, DeployError
from local.moto.exchange import EXCHANGE

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f"
CONTEXT = Context("123456789012", "us-east-1", "s", "stack-id", "Thing", "Custom::Thing")
Respond = Callable[[dict[str, Any]], object]


@pytest.fixture
def respond(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Respond], list[dict[str, Any]]]]:
    """Return a function that starts a data plane, which answers each request by `respond`."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        monkeypatch.setattr(custom, "client", lambda *_: s3)
        monkeypatch.setattr(
            custom, "call", lambda _service, _region, name, **members: getattr(s3, name)(**members)
        )
        ended = threading.Event()
        threads: list[threading.Thread] = []

        def start(answer: Respond) -> list[dict[str, Any]]:
            events: list[dict[str, Any]] = []

            def serve() -> None:
                version = 0
                done: set[str] = set()
                while not ended.is_set():
                    EXCHANGE.wait_newer(version, 0.05)
                    version = EXCHANGE.version
                    for key, request in list(EXCHANGE.custom_requests.items()):
                        if key in done:
                            continue
                        done.add(key)
                        events.append(request["event"])
                        body = answer(request["event"])
                        if body is not None:
                            content = body if isinstance(body, bytes) else json.dumps(body).encode()
                            s3.put_object(
                                Bucket=request["bucket"], Key=request["key"], Body=content
                            )

            threads.append(threading.Thread(target=serve))
            threads[-1].start()
            return events

        yield start
        ended.set()
        for thread in threads:
            thread.join()
    assert EXCHANGE.custom_requests == {}


def resource(**properties: Any) -> CustomResource:
    """Return a custom resource with these properties."""
    return CustomResource(CONTEXT, {"ServiceToken": FUNCTION, **properties})


def success(event: dict[str, Any], physical: str = "one", **data: str) -> dict[str, Any]:
    """Return the answer of a function that succeeded."""
    return {"Status": "SUCCESS", "PhysicalResourceId": physical, "Data": data}


def test_its_life(respond: Any) -> None:
    """The function is asked to create, to update and to delete, with its own id of the resource."""
    events = respond(lambda event: success(event, Url="http://x"))
    made = resource(Size=3, On=True, Deep={"list": [1, "a"]})
    made.create()
    assert (made.physical_id, made.attribute("Url")) == ("one", "http://x")
    made.update({"ServiceToken": FUNCTION, "Size": 4})
    made.delete()
    assert [it["RequestType"] for it in events] == ["Create", "Update", "Delete"]
    create, update, delete = events
    assert create["ResourceProperties"] == {
        "ServiceToken": FUNCTION,
        "Size": "3",
        "On": "true",
        "Deep": {"list": ["1", "a"]},
    }
    assert create.keys() >= {"StackId", "RequestId", "LogicalResourceId", "ResourceType"}
    assert "PhysicalResourceId" not in create
    assert (update["PhysicalResourceId"], update["OldResourceProperties"]["Size"]) == ("one", "3")
    assert delete["PhysicalResourceId"] == "one"


def test_another_id_replaces_the_resource(respond: Any) -> None:
    """The old one is deleted after the update."""
    events = respond(
        lambda event: success(event, "two" if event["RequestType"] == "Update" else "one")
    )
    made = resource()
    made.create()
    made.update({"ServiceToken": FUNCTION, "New": "1"})
    assert made.physical_id == "two"
    assert [(it["RequestType"], it.get("PhysicalResourceId")) for it in events] == [
        ("Create", None),
        ("Update", "one"),
        ("Delete", "one"),
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"Status": "FAILED", "Reason": "no\nroom"}, "from custom resource. no room"),
        ({"Status": "FAILED"}, "no reason was given"),
        (b"<html>", "it is not JSON"),
        (b"[]", "not a JSON object"),
        (b"x" * 5000, "too long"),
    ],
)
def test_a_failure_has_its_reason(respond: Any, body: object, message: str) -> None:
    """The resource has failed with what the function said."""
    respond(lambda _event: body)
    with pytest.raises(DeployError, match=message):
        resource().create()


def test_a_function_that_does_not_answer(respond: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource has failed after its timeout."""
    respond(lambda _event: None)
    now = time.monotonic()
    moments = iter([now, now + 59, now + 61])
    monkeypatch.setattr("local.cloudformation.custom.time.monotonic", lambda: next(moments))
    monkeypatch.setattr("local.cloudformation.custom.time.sleep", lambda _seconds: None)
    with pytest.raises(DeployError, match="did not receive a response"):
        resource(ServiceTimeout="60")._ask(
            "Create", {"ServiceToken": FUNCTION, "ServiceTimeout": "60"}
        )
