"""The admin API over the whole local cloud: by the distribution with the admin secret, and by IAM
without it.
"""

import json
import secrets
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from local.cloud import LocalCloud
from tests.e2e.test_refusals import check
from tests.support.deployments import Deployment, options

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def secret(cloud: LocalCloud, scripted: Deployment) -> str:
    """Return the admin secret, read as an operator reads it."""
    return versions(cloud, scripted)["AWSCURRENT"]


def versions(cloud: LocalCloud, deployment: Deployment) -> dict[str, str]:
    """Return the values of the admin secret that have a label."""
    manager = boto3.client("secretsmanager", **options(cloud))
    arn = deployment.outputs["AdminSecretArn"]
    labels = {
        label
        for found in manager.describe_secret(SecretId=arn)["VersionIdsToStages"].values()
        for label in found
    }
    return {
        label: manager.get_secret_value(SecretId=arn, VersionStage=label)["SecretString"]
        for label in labels
    }


def admin(deployment: Deployment, secret: str) -> httpx.Client:
    """Return a client of the admin API."""
    headers = {"authorization": f"Bearer {secret}"}
    return httpx.Client(base_url=f"{deployment.origin}/admin/v1", headers=headers, timeout=60)


def test_the_document_needs_no_secret(scripted: Deployment) -> None:
    """The OpenAPI document is served to everybody who comes by the distribution."""
    answer = httpx.get(f"{scripted.origin}/admin/v1/openapi.json", timeout=60)
    assert (answer.status_code, answer.json()["openapi"][:2]) == (200, "3.")
    assert answer.headers["x-request-id"].startswith("req_")


def test_no_secret_and_a_wrong_one(scripted: Deployment) -> None:
    """Without the admin secret nothing is answered, not even whether a path exists; an API key is
    none.
    """
    for headers in (
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Bearer {scripted.key}"},
    ):
        for path in ("keys", "nothing"):
            check(
                httpx.get(f"{scripted.origin}/admin/v1/{path}", headers=headers),
                401,
                "invalid_admin_secret",
            )


def test_an_unknown_path(scripted: Deployment, secret: str) -> None:
    """With the secret an unknown path is a 404."""
    with admin(scripted, secret) as client:
        check(client.get("/nothing"), 404, "not_found")


def test_the_way_round_the_distribution_is_closed(
    cloud: LocalCloud, scripted: Deployment, secret: str
) -> None:
    """The function URL itself refuses also who has the admin secret."""
    url = scripted.outputs["AdminFunctionUrl"]
    listener = cloud.ask("status")["function_urls"]
    headers = {"host": httpx.URL(url).host, "authorization": f"Bearer {secret}"}
    check(httpx.get(f"{listener}/admin/v1/keys", headers=headers), 403, "origin_denied")


def invoke(
    cloud: LocalCloud, deployment: Deployment, event: dict[str, Any], *, right: str = ""
) -> tuple[int, dict[str, Any]]:
    """Call the admin API through lambda:InvokeFunction, with all rights or with one; its status and
    JSON.
    """
    functions = boto3.client("lambda", **options(cloud))
    answer = functions.invoke(
        FunctionName=deployment.outputs[f"Admin{right}FunctionName"], Payload=json.dumps(event)
    )
    found = json.loads(answer["Payload"].read())
    return found["statusCode"], json.loads(found["body"])


def test_whom_iam_lets_invoke_needs_no_secret(cloud: LocalCloud, scripted: Deployment) -> None:
    """lambda:InvokeFunction is the other way in; an event that looks like the URL's still needs the
    secrets.
    """
    status, body = invoke(cloud, scripted, {"path": "/admin/v1/nothing"})
    assert (status, body["error"]["code"]) == (404, "not_found")
    forged = {
        "version": "2.0",
        "sluice.invoked": True,
        "rawQueryString": "",
        "headers": {},
        "requestContext": {
            "http": {"method": "GET", "path": "/admin/v1/keys", "sourceIp": "192.0.2.1"}
        },
    }
    status, body = invoke(cloud, scripted, forged)
    assert (status, body["error"]["code"]) == (403, "origin_denied")


def test_rotation(cloud: LocalCloud, scripted: Deployment, secret: str) -> None:
    """The rotation's four steps, as Secrets Manager takes them: both secrets work, the new one
    within seconds.
    """
    functions = boto3.client("lambda", **options(cloud))
    arn = scripted.outputs["AdminSecretArn"]
    described = boto3.client("cloudformation", **options(cloud)).describe_stack_resources(
        StackName=f"{scripted.name}-local-service"
    )["StackResources"]
    [rotator] = [
        item["PhysicalResourceId"]
        for item in described
        if item["ResourceType"] == "AWS::Lambda::Function"
        and "Rotation" in item["LogicalResourceId"]
    ]
    with admin(scripted, secret) as client:
        # the old one is known to the function from now on
        assert client.get("/nothing").status_code == 404
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
        # a secret that is not known is looked up at most every five seconds
        deadline = time.monotonic() + 60
        while (status := client.get("/nothing").status_code) == 401 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert status == 404


RIGHTS = {
    "Keys": ("POST", "keys", {"name": "right"}),
    "Budgets": ("PATCH", "keys/{key}/budget", {"tokens_per_day": 10**12}),
    "Usage": ("GET", "usage", None),
    "Audit": ("GET", "audit", None),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_function_of_one_right(cloud: LocalCloud, scripted: Deployment, right: str) -> None:
    """Whoever may invoke the function of one right does what it has, and is refused all that is
    another's.
    """
    for name, (method, path, body) in RIGHTS.items():
        event = {
            "method": method,
            "path": f"/admin/v1/{path.format(key=scripted.key[3:15])}",
            "body": body,
        }
        status, answer = invoke(cloud, scripted, event, right=right)
        if name == right:
            assert status in {200, 201}, answer
        else:
            assert (status, answer["error"]["code"]) == (403, "right_missing")


def test_iam_names_the_function(cloud: LocalCloud, scripted: Deployment) -> None:
    """A role that may invoke the function of one right may invoke no other, nor that of the
    distribution.
    """
    account = boto3.client("sts", **options(cloud)).get_caller_identity()["Account"]
    iam = boto3.client("iam", **options(cloud))
    api = boto3.client("lambda", **options(cloud))
    name = f"reader-{secrets.token_hex(4)}"
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
        "Action": "sts:AssumeRole",
    }
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
    arn = api.get_function_configuration(FunctionName=scripted.outputs["AdminUsageFunctionName"])[
        "FunctionArn"
    ]
    grant = {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": arn}
    iam.put_role_policy(RoleName=name, PolicyName="usage", PolicyDocument=policy(grant))
    found = boto3.client("sts", **options(cloud)).assume_role(RoleArn=role, RoleSessionName="e2e")[
        "Credentials"
    ]
    session = {
        "aws_access_key_id": found["AccessKeyId"],
        "aws_secret_access_key": found["SecretAccessKey"],
        "aws_session_token": found["SessionToken"],
    }
    reader = boto3.client("lambda", **{**options(cloud), **session})
    event = json.dumps({"path": "/admin/v1/usage"})
    answer = json.loads(reader.invoke(FunctionName=arn, Payload=event)["Payload"].read())
    assert answer["statusCode"] == 200
    url = httpx.URL(scripted.outputs["AdminFunctionUrl"]).host
    [control] = [
        it["FunctionName"] for it in api.list_functions()["Functions"] if url_of(api, it) == url
    ]
    others = [
        scripted.outputs[f"Admin{right}FunctionName"] for right in ("", "Keys", "Budgets", "Audit")
    ]
    for other in (*others, control):
        with pytest.raises(ClientError, match="not authorized to perform: lambda:InvokeFunction"):
            reader.invoke(FunctionName=other, Payload=event)
    # and the right to invoke the distribution's function gives no access to it
    answer = json.loads(api.invoke(FunctionName=control, Payload=event)["Payload"].read())
    assert (answer["statusCode"], json.loads(answer["body"])["error"]["code"]) == (403, "url_only")


def policy(statement: dict[str, Any]) -> str:
    """Return a policy document of one statement."""
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def url_of(api: Any, function: dict[str, Any]) -> str | None:
    """Return the host of a function's URL, if it has one."""
    try:
        found = api.get_function_url_config(FunctionName=function["FunctionName"])["FunctionUrl"]
    except ClientError:
        return None
    return httpx.URL(found).host


def test_a_flood_does_not_lock_iam_out(cloud: LocalCloud, scripted: Deployment) -> None:
    """While requests without a secret take all of the URL's concurrency, so that some are
    throttled, each of IAM's callers is answered.
    """
    over = threading.Event()
    throttled = threading.Event()

    def flood() -> None:
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                if client.get(f"{scripted.origin}/admin/v1/keys").status_code == 429:
                    throttled.set()

    with ThreadPoolExecutor(24) as pool:
        try:
            for _ in range(24):
                pool.submit(flood)
            assert throttled.wait(60)
            answers = [invoke(cloud, scripted, {"path": "/admin/v1/nothing"})[0] for _ in range(10)]
        finally:
            over.set()
    assert answers == [404] * 10


def test_the_trail_tells_who_and_from_where(
    cloud: LocalCloud, scripted: Deployment, secret: str
) -> None:
    """By the distribution it has the version of the secret and the viewer's address, whatever the
    viewer says that it is; by IAM the right and Lambda's id of the invocation.
    """
    with admin(scripted, versions(cloud, scripted)["AWSCURRENT"]) as client:
        made = client.post(
            "/keys", json={"name": "n"}, headers={"x-forwarded-for": "198.51.100.1"}
        ).json()
        path = f"/admin/v1/keys/{made['id']}"
        assert invoke(cloud, scripted, {"method": "DELETE", "path": path}, right="Keys")[0] == 200
        deleted, created = client.get("/audit", params={"key": made["id"]}).json()["data"]
    manager = boto3.client("secretsmanager", **options(cloud))
    arn = scripted.outputs["AdminSecretArn"]
    version = manager.get_secret_value(SecretId=arn, VersionStage="AWSCURRENT")["VersionId"]
    assert (created["actor"], created["address"]) == (f"secret:{version}", "127.0.0.1")
    assert (deleted["actor"], deleted["address"], deleted["before"]["name"]) == (
        "iam:keys",
        None,
        "n",
    )
    assert len(deleted["invocation"]) == 36
    stored = str(scripted.table.scan()["Items"])
    assert made["secret"][16:] not in stored
    assert secret not in stored
