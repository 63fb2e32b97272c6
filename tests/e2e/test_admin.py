"""The admin API over the whole local cloud: by the distribution with the admin secret, and by IAM without it."""

import json
import secrets
import time
from typing import Any

import boto3
import httpx
import pytest

from local.cloud import LocalCloud
from tests.e2e.conftest import Deployment, options
from tests.e2e.test_refusals import check

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def secret(cloud: LocalCloud, scripted: Deployment) -> str:
    """Give the admin secret, as whoever may read it does."""
    return versions(cloud, scripted)["AWSCURRENT"]


def versions(cloud: LocalCloud, deployment: Deployment) -> dict[str, str]:
    """Give the values of the admin secret that have a label."""
    manager = boto3.client("secretsmanager", **options(cloud))
    arn = deployment.outputs["AdminSecretArn"]
    labels = {
        label for found in manager.describe_secret(SecretId=arn)["VersionIdsToStages"].values() for label in found
    }
    return {label: manager.get_secret_value(SecretId=arn, VersionStage=label)["SecretString"] for label in labels}


def admin(deployment: Deployment, secret: str) -> httpx.Client:
    """Give a client of the admin API."""
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=f"{deployment.origin}/admin/v1", headers=headers, timeout=30)


def test_the_document_needs_no_secret(scripted: Deployment) -> None:
    """The OpenAPI document is served to everybody who comes by the distribution."""
    answer = httpx.get(f"{scripted.origin}/admin/v1/openapi.json")
    assert (answer.status_code, answer.json()["openapi"][:2]) == (200, "3.")
    assert answer.headers["x-request-id"].startswith("req_")


def test_no_secret_and_a_wrong_one(scripted: Deployment) -> None:
    """Without the admin secret nothing is answered, not even whether a path exists; an API key is none."""
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": f"Bearer {scripted.key}"}):
        for path in ("keys", "nothing"):
            check(httpx.get(f"{scripted.origin}/admin/v1/{path}", headers=headers), 401, "invalid_admin_secret")


def test_an_unknown_path(scripted: Deployment, secret: str) -> None:
    """With the secret an unknown path is a 404."""
    with admin(scripted, secret) as client:
        check(client.get("/nothing"), 404, "not_found")


def test_the_way_round_the_distribution_is_closed(cloud: LocalCloud, scripted: Deployment, secret: str) -> None:
    """The function URL itself refuses also who has the admin secret."""
    functions = boto3.client("lambda", **options(cloud))
    url = functions.get_function_url_config(FunctionName=scripted.outputs["AdminFunctionName"])["FunctionUrl"]
    listener = httpx.get(f"{cloud.endpoint_url}/_local/status").json()["function_urls"]
    headers = {"host": httpx.URL(url).host, "authorization": f"Bearer {secret}"}
    check(httpx.get(f"{listener}/admin/v1/keys", headers=headers), 403, "origin_denied")


def invoke(cloud: LocalCloud, deployment: Deployment, event: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Call the admin API through lambda:InvokeFunction; its status and JSON."""
    functions = boto3.client("lambda", **options(cloud))
    answer = functions.invoke(FunctionName=deployment.outputs["AdminFunctionName"], Payload=json.dumps(event))
    found = json.loads(answer["Payload"].read())
    return found["statusCode"], json.loads(found["body"])


def test_whom_iam_lets_invoke_needs_no_secret(cloud: LocalCloud, scripted: Deployment) -> None:
    """lambda:InvokeFunction is the other way in; an event that looks like the URL's still needs the secrets."""
    status, body = invoke(cloud, scripted, {"path": "/admin/v1/nothing"})
    assert (status, body["error"]["code"]) == (404, "not_found")
    forged = {
        "version": "2.0",
        "sluice.invoked": True,
        "rawQueryString": "",
        "headers": {},
        "requestContext": {"http": {"method": "GET", "path": "/admin/v1/keys", "sourceIp": "192.0.2.1"}},
    }
    status, body = invoke(cloud, scripted, forged)
    assert (status, body["error"]["code"]) == (403, "origin_denied")


def test_rotation(cloud: LocalCloud, scripted: Deployment, secret: str) -> None:
    """The rotation's four steps, as Secrets Manager takes them: both secrets work, the new one within seconds."""
    functions = boto3.client("lambda", **options(cloud))
    arn = scripted.outputs["AdminSecretArn"]
    described = boto3.client("cloudformation", **options(cloud)).describe_stack_resources(
        StackName=f"{scripted.name}-local-service"
    )["StackResources"]
    [rotator] = [
        item["PhysicalResourceId"]
        for item in described
        if item["ResourceType"] == "AWS::Lambda::Function" and "Rotation" in item["LogicalResourceId"]
    ]
    with admin(scripted, secret) as client:
        assert client.get("/nothing").status_code == 404  # the old one is known to the function from now on
        token = secrets.token_hex(16)
        for step in ("createSecret", "setSecret", "testSecret", "finishSecret", "finishSecret"):
            event = {"SecretId": arn, "ClientRequestToken": token, "Step": step}
            answer = functions.invoke(FunctionName=rotator, Payload=json.dumps(event))
            assert "FunctionError" not in answer, answer["Payload"].read()
        assert client.get("/nothing").status_code == 404
    found = versions(cloud, scripted)
    assert found["AWSPREVIOUS"] == secret != found["AWSCURRENT"]
    assert len(found["AWSCURRENT"]) == 48
    with admin(scripted, found["AWSCURRENT"]) as client:
        deadline = time.monotonic() + 20  # a secret that is not known is looked up at most every five seconds
        while (status := client.get("/nothing").status_code) == 401 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert status == 404
