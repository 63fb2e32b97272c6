"""The dashboard and the alarms over what a run of the local cloud really wrote."""

import json
import time
from typing import Any

import boto3
import httpx
import openai
import pytest

from local.cloud import LocalCloud, LocalCloudError
from tests.e2e.test_streaming import settled
from tests.support.deployments import Deployment, options, sweep
from tests.support.faults import fault

pytestmark = pytest.mark.e2e

ONLY_ON_AWS = {
    "AWS/DynamoDB": "moto does not measure its tables",
    "/aws/sagemaker/Endpoints": "the container is a process of this machine",
}
ONLY_IN_CASES = ("Ended", "Rejected.", "Unbilled", "SettlementsUnsaved", "Recovered", "Throttles")
"""Metrics of events. The run causes some of them; a contract test compares all their names."""
CAUSED = {"EndedComplete", "EndedUpstream", "Rejected.invalid_api_key", "Rejected.model_not_found"}


@pytest.fixture(scope="module")
def cloudwatch(cloud: LocalCloud) -> Any:
    """Return a client of CloudWatch."""
    return boto3.client("cloudwatch", **options(cloud))


def written(cloudwatch: Any) -> set[tuple[str, str, frozenset[tuple[str, str]]]]:
    """Return namespace, name and dimensions of all metrics that were written."""
    return {
        (
            it["Namespace"],
            it["MetricName"],
            frozenset((d["Name"], d["Value"]) for d in it["Dimensions"]),
        )
        for page in cloudwatch.get_paginator("list_metrics").paginate()
        for it in page["Metrics"]
    }


def named(cloudwatch: Any, dashboard: str) -> set[tuple[str, str, frozenset[tuple[str, str]]]]:
    """Return the metrics that a deployed dashboard names."""
    body = json.loads(cloudwatch.get_dashboard(DashboardName=dashboard)["DashboardBody"])
    found = set()
    for widget in body["widgets"]:
        for line in widget["properties"].get("metrics", []):
            if isinstance(line[0], str):
                namespace, name, *pairs = (it for it in line if isinstance(it, str))
                found.add((namespace, name, frozenset(zip(pairs[::2], pairs[1::2], strict=True))))
    return found


def states(cloud: LocalCloud, deployment: Deployment, now: float) -> dict[str, str]:
    """Return the states of a deployment's alarms by their logical ids, as at a time."""
    found = {it["name"]: it["state"] for it in cloud.ask(f"alarms?now={now}")}
    pages = (
        boto3.client("cloudformation", **options(cloud))
        .get_paginator("list_stack_resources")
        .paginate(StackName=f"{deployment.name}-local-service")
    )
    resources = [one for page in pages for one in page["StackResourceSummaries"]]
    return {
        one["LogicalResourceId"][:-8]: found[one["PhysicalResourceId"]]
        for one in resources
        if one["PhysicalResourceId"] in found
    }


def ask(deployment: Deployment, **changes: Any) -> str:
    """Stream an answer to its end, or to its error. Return the request's id, if there is one."""
    body = {
        "model": deployment.model,
        "messages": [{"role": "user", "content": "Why stream tokens?"}],
        "stream": True,
        "temperature": 0,  # a whole answer, which has a pace
        "max_tokens": 40,
        **changes,
    }
    headers = {"authorization": f"Bearer {deployment.key}"}
    with httpx.stream(
        "POST", f"{deployment.origin}/v1/chat/completions", json=body, headers=headers, timeout=60
    ) as reply:
        reply.read()
        return str(reply.headers.get("x-request-id", "")).removeprefix("req_")


def read_again(deployment: Deployment) -> None:
    """Request an answer that is logged, replayed to a repeat, taken from the cache, and resumed."""
    client = httpx.Client(
        base_url=deployment.origin,
        headers={"authorization": f"Bearer {deployment.key}"},
        timeout=60,
    )
    body = {
        "model": deployment.model,
        "messages": [{"role": "user", "content": f"{time.time()}"}],
        "max_tokens": 2,
        "stream": True,
    }
    cached = {**body, "sluice": {"cache": 60}}
    named = {"idempotency-key": str(time.time())}
    with client:
        for request, headers in ((body, named), (body, named), (cached, {}), (cached, {})):
            reply = client.post("/v1/chat/completions", json=request, headers=headers)
            assert reply.status_code == 200, reply.text
        stream = client.get(f"/v1/sluice/streams/{reply.headers['x-sluice-stream']}")
        assert stream.status_code == 200, stream.text


def test_every_metric_of_the_dashboard_is_written(
    cloud: LocalCloud, scripted: Deployment, demo: Deployment, cloudwatch: Any
) -> None:
    """Each metric that the dashboard names was written by the run, with the same dimensions.

    Left out are those of AWS's services that the local cloud does not have, and metrics of events
    that the run did not cause.
    """
    del scripted
    settled(demo, ask(demo))
    with fault(cloud, kind="stream-cut", scope="demo*", probability=1):
        ask(demo)
    ask(demo, model="no such model")
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{demo.origin}/v1", api_key="sk-wrong", max_retries=0).models.list()
    read_again(demo)
    sweep(cloud, demo)
    wanted = {
        metric
        for metric in named(cloudwatch, f"{demo.name}-local")
        if metric[0] not in ONLY_ON_AWS
        and (metric[1] in CAUSED or not metric[1].startswith(ONLY_IN_CASES))
    }
    assert len(wanted) > 20
    deadline = time.monotonic() + 60
    while (missing := wanted - written(cloudwatch)) and time.monotonic() < deadline:
        time.sleep(0.25)
    assert missing == set()


def test_a_fault_rings_an_alarm_that_stops_when_it_is_over(
    cloud: LocalCloud, scripted: Deployment
) -> None:
    """Killed functions ring the release's alarm. An hour later, without any, it has stopped.

    The alarm rises at two errors in one of the periods of five minutes. Of three errors, two are in
    the same period, and that one is complete within six minutes.
    """
    api = boto3.client("lambda", **options(cloud))
    name = scripted.outputs["FunctionName"]
    live = api.get_alias(FunctionName=name, Name="live")["FunctionVersion"]
    # Other tests release versions of their own, and the alarm counts the one of the stack.
    api.update_alias(FunctionName=name, Name="live", FunctionVersion="1")
    with fault(cloud, kind="function-killed-at-response", scope="scripted*", probability=1):
        for _ in range(3):
            assert ask(scripted) == ""
    api.update_alias(FunctionName=name, Name="live", FunctionVersion=live)
    began = time.time()
    deadline = time.monotonic() + 60
    rung = False
    while not rung:
        for later in range(0, 420, 60):
            found = states(cloud, scripted, began + later)
            rung = rung or found["StreamReleaseErrors"] == "ALARM"
        assert rung or time.monotonic() < deadline, found
        time.sleep(0.25)
    assert len(found) > 15
    assert states(cloud, scripted, time.time() + 3600)["StreamReleaseErrors"] == "OK"


def test_a_time_that_is_none(cloud: LocalCloud) -> None:
    """The local cloud says what the time of an evaluation has to be."""
    for now in ("soon", "nan", "1e99", "-1"):
        with pytest.raises(LocalCloudError, match="Unix seconds"):
            cloud.ask(f"alarms?now={now}")
