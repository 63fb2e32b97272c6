"""The deployment, seen with stock boto3."""

import json

import boto3
import httpx
import pytest

from local.cloud import LocalCloud
from tests.e2e.test_refusals import check
from tests.support.deployments import Deployment, options

pytestmark = pytest.mark.e2e


def test_every_resource_is_handled(cloud: LocalCloud, demo: Deployment) -> None:
    """Every resource of both stacks exists, and the local cloud emulates all of them."""
    status = cloud.ask("status")
    assert status["unhandled"] == []
    assert all(endpoint["status"] == "InService" for endpoint in status["endpoints"])
    client = boto3.client("cloudformation", **options(cloud))
    for part in ("state", "service"):
        resources = client.describe_stack_resources(StackName=f"{demo.name}-local-{part}")[
            "StackResources"
        ]
        assert {resource["ResourceStatus"] for resource in resources} == {"CREATE_COMPLETE"}
        assert all(resource["PhysicalResourceId"] for resource in resources)


def test_no_dynamic_reference_survives(cloud: LocalCloud, demo: Deployment) -> None:
    """Function and distribution share a real secret, and not the text of a reference."""
    function = boto3.client("lambda", **options(cloud))
    name = demo.outputs["FunctionName"]
    environment = function.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    assert "{{resolve:" not in json.dumps(environment)
    assert len(environment["SLUICE_ORIGIN_SECRET"]) >= 32


def test_way_round_the_distribution_is_closed(cloud: LocalCloud, demo: Deployment) -> None:
    """The function URL rejects every request that does not come through the distribution.

    A key makes no difference.
    """
    listener = cloud.ask("status")["function_urls"]
    host = httpx.URL(demo.outputs["FunctionUrl"]).host
    for secret in ({}, {"x-sluice-origin-secret": "guess"}):
        headers = {"host": host, "authorization": f"Bearer {demo.key}", **secret}
        check(httpx.get(f"{listener}/v1/models", headers=headers), 403, "origin_denied")


def test_stock_boto3_reads_the_endpoint(cloud: LocalCloud, scripted: Deployment) -> None:
    """boto3 invokes the deployed endpoint and reads its event stream.

    The stream's parts are cut at any byte.
    """
    runtime = boto3.client("sagemaker-runtime", **options(cloud))
    message = json.dumps({"say": ["Grüße", " 🚰"]})
    answer = runtime.invoke_endpoint_with_response_stream(
        EndpointName=scripted.outputs["EndpointName"],
        ContentType="application/json",
        Body=json.dumps({"messages": [{"role": "user", "content": message}]}),
    )
    data = b"".join(event["PayloadPart"]["Bytes"] for event in answer["Body"])
    records = [json.loads(line) for line in data.splitlines() if line.strip()]
    assert records[0]["type"] == "start"
    assert (
        "".join(
            record["delta"].get("content", "") for record in records if record["type"] == "delta"
        )
        == "Grüße 🚰"
    )
    assert records[-1] == {"type": "end"}
