"""Invocations of the functions of custom resources."""

import json
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from local.lambda_.aliases import Target
from local.lambda_.custom_resources import CustomResources
from local.lambda_.response import FunctionError
from local.trust import Keys

KEYS = Keys.new()


def request(number: int, arn: str = "arn:f") -> dict[str, Any]:
    """Return a request, as the control plane has it."""
    event = {"RequestType": "Create", "LogicalResourceId": f"R{number}"}
    return {"id": str(number), "arn": arn, "bucket": "b", "key": f"R{number}/1", "event": event}


def test_each_request_is_sent_once() -> None:
    """A request stays in the state until it is answered. Its function is not invoked again."""
    invoked: list[dict[str, Any]] = []

    def target(arn: str) -> Target:
        if arn == "gone":
            raise FunctionError("ResourceNotFoundException", "Function not found: gone")
        return cast("Target", arn)

    custom = CustomResources(
        target,
        lambda _target, event: invoked.append(json.loads(event)),
        endpoint_url="http://localhost:4566",
        keys=KEYS,
    )
    custom.apply((request(1),))
    custom.apply((request(1), request(2), request(3, "gone")))
    custom.apply((request(2),))
    assert [it["LogicalResourceId"] for it in invoked] == ["R1", "R2"]
    address = urlsplit(invoked[0]["ResponseURL"])
    assert f"{address.scheme}://{address.netloc}{address.path}" == "http://localhost:4566/b/R1/1"
    signed = parse_qs(address.query)
    assert signed["X-Amz-SignedHeaders"] == ["host"]
    assert signed["X-Amz-Credential"][0].startswith(KEYS.access_key)
