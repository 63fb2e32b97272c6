"""Least privilege of the deployed roles.

A test removes each grant with an IAM call, and checks that the action is denied.
"""

import asyncio
import itertools
import json
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import boto3
import httpx
import msgspec
import pytest
from botocore.exceptions import ClientError

from cli.lib import local_keys
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.encode import Head
from lambda_fn.http.client import Client
from lambda_fn.ids import key_id_of, new_request_id
from lambda_fn.metering.keys import account_key, ledger_key
from lambda_fn.metering.ledger import Opening, opening_item
from lambda_fn.metering.money import Prices
from lambda_fn.stream_log.heads import cancel_head, end_segment
from lambda_fn.stream_log.keys import DELETED, erasure_key, head_key
from local.cloud import REGION, LocalCloud
from tests.support.deployments import Deployment, functions, options
from tests.support.resources import CONTAINER_ACTIONS
from tests.support.versions import change_function

pytestmark = pytest.mark.e2e

Grant = tuple[str, str]
Document = dict[str, Any]

LOGS = {"logs:CreateLogStream", "logs:PutLogEvents"}
TRACES = {"xray:PutTelemetryRecords", "xray:PutTraceSegments"}
TABLE = {f"dynamodb:{name}" for name in ("DeleteItem", "GetItem", "PutItem", "Query", "UpdateItem")}
# The grants of each role, by the construct that makes it. The tests remove each of them.
GRANTS = {
    "Recall": {
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "lambda:InvokeFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sagemaker:InvokeEndpoint",
        "sagemaker:InvokeEndpointWithResponseStream",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    },
    "Stream": {
        "dynamodb:BatchGetItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
        "lambda:InvokeFunction",
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "sagemaker:InvokeEndpoint",
        "sagemaker:InvokeEndpointWithResponseStream",
        "xray:PutTelemetryRecords",
        "xray:PutTraceSegments",
    },
    "Sweeper": LOGS | TABLE | {"sns:Publish"},  # test_budgets has its alerts
    "Control": LOGS | TABLE | {"secretsmanager:GetSecretValue"},
    "AdminAll": LOGS | TABLE,  # the same as Control's in the table (tests/infra)
    "AdminKeys": LOGS | TABLE - {"dynamodb:DeleteItem"},
    "AdminBudgets": LOGS | TABLE - {"dynamodb:DeleteItem"},
    "AdminUsage": LOGS | {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"},
    "AdminAudit": LOGS | {"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"},
    "ControlSecretRotation": LOGS
    | {
        "secretsmanager:DescribeSecret",
        "secretsmanager:GetSecretValue",
        "secretsmanager:PutSecretValue",
        "secretsmanager:UpdateSecretVersionStage",
    },
    "ModelExecution": CONTAINER_ACTIONS,
}
TELL_WEBHOOK = {"lambda:InvokeFunction"}
"""The grant to invoke the function that posts to the webhook. test_verify proves that it does."""
BY_TEMPLATE = ("Background", "PlaygroundFunction")
"""Roles whose grants only tests/infra/test_security.py holds: their functions run by themselves."""
# Logs and traces of a role arrive some time after the response.
_PATIENCE_S = 60.0


class Deployed:
    """The deployed roles and their grants."""

    def __init__(self, cloud: LocalCloud, deployment: Deployment) -> None:
        """Read the template and the roles."""
        self.cloud, self.deployment = cloud, deployment
        self.iam = boto3.client("iam", **options(cloud))
        cloudformation = boto3.client("cloudformation", **options(cloud))
        self.stack = f"{deployment.name}-local-service"
        template = cloudformation.get_template(StackName=self.stack, TemplateStage="Original")[
            "TemplateBody"
        ]
        self.template = template if isinstance(template, dict) else json.loads(template)
        found = cloudformation.describe_stack_resources(StackName=self.stack)["StackResources"]
        self.physical = {item["LogicalResourceId"]: item["PhysicalResourceId"] for item in found}

    def made(self, owner: str, what: str, kind: str) -> str:
        """Return the physical id of a resource of a construct.

        The construct is `owner`. The resource's logical id ends in `what` and a hash.
        """
        for name, resource in self.template["Resources"].items():
            if resource["Type"] == kind and re.fullmatch(f"{owner}{what}[0-9A-F]{{8}}", name):
                return str(self.physical[name])
        raise AssertionError(owner)

    def roles(self) -> dict[str, dict[str, Document]]:
        """Return the policy documents of each role that the template makes, by the role's name.

        They are by the policy's name, and references in their grants are resolved.
        """
        found: dict[str, dict[str, Document]] = {}
        for resource in self.template["Resources"].values():
            if resource["Type"] == "AWS::IAM::Policy":
                properties = resource["Properties"]
                [role] = [self.physical[item["Ref"]] for item in properties["Roles"]]
                name = properties["PolicyName"]
                document = self.iam.get_role_policy(RoleName=role, PolicyName=name)[
                    "PolicyDocument"
                ]
                # The deployed policy is the synthesised one: it has the same actions in the same
                # order.
                assert [item["Action"] for item in document["Statement"]] == [
                    item["Action"] for item in properties["PolicyDocument"]["Statement"]
                ]
                found.setdefault(role, {})[name] = document
        for role, documents in found.items():
            assert set(self.iam.list_role_policies(RoleName=role)["PolicyNames"]) == set(documents)
        return found

    @contextmanager
    def without(self, role: str, name: str, document: Document, grant: Grant) -> Iterator[None]:
        """Remove one grant from a policy of a deployed role while the block runs."""
        reduced = {
            **document,
            "Statement": [part for item in document["Statement"] for part in split(item, grant)],
        }
        self.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(reduced))
        try:
            yield
        finally:
            self.iam.put_role_policy(
                RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document)
            )

    def denials(self) -> list[str]:
        """Return the denials that the local cloud has logged so far."""
        log = (self.cloud.directory / "logs" / "cloud.log").read_text()
        return [line for line in log.splitlines() if "AccessDenied: User:" in line]


class Function:
    """A deployed function and its log."""

    def __init__(self, deployed: Deployed, owner: str) -> None:
        """Find the function that a construct made."""
        self.api = functions(deployed.cloud)
        self._logs = boto3.client("logs", **options(deployed.cloud))
        self.name = deployed.made(owner, "Function", "AWS::Lambda::Function")
        found = self.api.get_function_configuration(FunctionName=self.name)
        self._group, size = found["LoggingConfig"]["LogGroup"], found["MemorySize"]
        self._sizes = itertools.cycle((size + 1, size))

    def renew(self) -> None:
        """Replace the environments. New ones open new log streams."""
        change_function(self.api, self.name, MemorySize=next(self._sizes))

    def streams(self) -> set[str]:
        """Return the names of the function's log streams."""
        found = self._logs.describe_log_streams(logGroupName=self._group)["logStreams"]
        return {stream["logStreamName"] for stream in found}

    def logged(self, request: str) -> bool:
        """Return whether the log has the end of an invocation."""
        found = self._logs.filter_log_events(logGroupName=self._group)["events"]
        return any(
            "platform.report" in event["message"] and request in event["message"] for event in found
        )


def listed(value: Any) -> list[Any]:
    """Return a value as a list, which it may be already."""
    return value if isinstance(value, list) else [value]


def grants(document: Document) -> list[Grant]:
    """Return the pairs of action and resource in all statements."""
    return [
        (action, resource)
        for statement in document["Statement"]
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    ]


def split(statement: Document, grant: Grant) -> list[Document]:
    """Return a statement as one statement for each grant in it, without one grant."""
    pairs = grants({"Statement": [statement]})
    return [{**statement, "Action": one[0], "Resource": one[1]} for one in pairs if one != grant]


@pytest.fixture(scope="module")
def deployed(cloud: LocalCloud, scripted: Deployment) -> Deployed:
    """Return the roles of the deployment with the scripted engine."""
    return Deployed(cloud, scripted)


def check_each(
    deployed: Deployed,
    owner: str,
    use: Callable[[], bool],
    only: Collection[str] = (),
    *,
    table: str = "",
) -> None:
    """Remove each grant of a role in turn, or those of `only`, in `table` if it is set.

    Before and after, `use` works. Without the grant it fails, and only that action is denied.
    """
    role = deployed.made(owner, "Role", "AWS::IAM::Role")
    documents = deployed.roles()[role]
    found = [(name, *grant) for name, it in documents.items() for grant in grants(it)]
    assert {action for _, action, _ in found} == GRANTS[owner]
    assert use(), deployed.denials()
    for name, action, resource in found:
        if (only and action not in only) or not resource.endswith(table):
            continue
        before = len(deployed.denials())
        with deployed.without(role, name, documents[name], (action, resource)):
            worked = use()
        denials = deployed.denials()[before:]
        assert not worked, (
            f"{action} on {resource} can be taken away from {role}, and nothing breaks"
        )
        assert denials
        assert all(f"perform: {action} on resource:" in line for line in denials), denials
        assert all(f":assumed-role/{role}/" in line for line in denials)
    assert use(), deployed.denials()


def eventually(deployed: Deployed, before: int, *arrived: Callable[[], bool]) -> bool:
    """Return True once all of `arrived` hold, or False once an action has been denied.

    If neither happens in time, the test fails.
    """
    ends = time.monotonic() + _PATIENCE_S
    left = list(arrived)
    while time.monotonic() < ends:
        left = [one for one in left if not one()]
        if len(deployed.denials()) > before:
            return False
        if not left:
            return True
        time.sleep(0.05)
    return pytest.fail("neither written nor denied")


def test_function_has_no_grant_too_many(deployed: Deployed) -> None:
    """The stream function needs each of its grants to serve, log and trace."""
    function = Function(deployed, "Stream")
    xray = boto3.client("xray", **options(deployed.cloud))
    # The answer is logged, and takes long enough that the function looks after its head.
    message = json.dumps({"repeat": " w", "count": 4, "rate": 2})
    body = {
        "model": deployed.deployment.model,
        "messages": [{"role": "user", "content": message}],
        "sluice": {"durable": True},
    }
    headers = {"authorization": f"Bearer {deployed.deployment.key}"}

    def use() -> bool:
        function.renew()
        before = len(deployed.denials())
        url = f"{deployed.deployment.origin}/v1/chat/completions"
        answer = httpx.post(url, json=body, headers=headers, timeout=60)
        assert answer.status_code in {200, 500, 502, 503}, answer.text
        trace = answer.headers["x-amzn-trace-id"].partition(";")[0].removeprefix("Root=")
        logged = partial(function.logged, answer.headers["x-amzn-requestid"])

        def traced() -> bool:
            return bool(xray.batch_get_traces(TraceIds=[trace])["Traces"])

        return eventually(deployed, before, logged, traced) and answer.status_code == 200

    elsewhere = {"dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"}  # tested below
    check_each(deployed, "Stream", use, only=GRANTS["Stream"] - elsewhere - TELL_WEBHOOK)


async def cancelled(deployed: Deployed, response_id: str, *, ends: bool = True) -> None:
    """Cancel a logged response with the rights of the operator.

    With `ends`, its readers end, though its producer may not see it.
    """
    keys = deployed.cloud.keys
    client = Client()
    try:
        streams = Table(
            client,
            url=deployed.cloud.endpoint_url,
            region=REGION,
            name=deployed.deployment.outputs["StreamTableName"],
            credentials=lambda: Credentials(keys.access_key, keys.secret_key, ""),
        )
        head = await cancel_head(streams, response_id, now=time.time())
        assert head is not None
        if ends:
            await end_segment(streams, head)
    finally:
        client.close()


def test_recall_function_has_no_grant_too_many(deployed: Deployed) -> None:
    """The recall function needs each of its grants to answer, log and trace some call."""
    function = Function(deployed, "Recall")
    xray = boto3.client("xray", **options(deployed.cloud))
    deployment = deployed.deployment
    key = local_keys.create(deployment.table, name="recall")
    deployment.table.update_item(
        Key=account_key(key_id_of(key) or ""),
        UpdateExpression="SET requests_minute = :many",
        ExpressionAttributeValues={":many": 10_000},
    )
    client = httpx.Client(
        base_url=deployment.origin, headers={"authorization": f"Bearer {key}"}, timeout=60
    )
    streams = "/v1/sluice/streams"

    def body(count: int, *, durable: bool) -> Document:
        message = json.dumps({"repeat": " w", "count": count, "rate": 50})
        return {
            "model": deployment.model,
            "stream": True,
            "messages": [{"role": "user", "content": message}],
            "sluice": {"durable": durable},
        }

    def use() -> bool:
        """Make each kind of call, until one fails."""
        function.renew()
        before = len(deployed.denials())
        replies: list[httpx.Response] = []

        def answers(method: str, path: str) -> bool:
            replies.append(client.request(method, f"{streams}{path}"))
            return replies[-1].status_code == 200

        whole = client.post("/v1/chat/completions", json=body(2, durable=True))
        name = whole.headers["x-sluice-stream"]
        if not (answers("GET", "") and answers("GET", f"/{name}")):
            return False
        for durable in (True, False):
            long = body(4000, durable=durable)
            with client.stream("POST", "/v1/chat/completions", json=long) as answer:
                next(answer.iter_raw())
                running = answer.headers["x-request-id"].removeprefix("req_")
                if not durable:
                    worked = answers("POST", f"/{running}/cancel")
                else:  # a reader of what runs takes a slot, and gives it back at the end
                    with client.stream("GET", f"{streams}/{running}") as reader:
                        parts = reader.iter_raw()
                        next(parts)
                        replies.append(reader)
                        worked = answers("POST", f"/{running}/cancel")
                        if not worked:
                            asyncio.run(cancelled(deployed, running))
                        for _ in parts:
                            pass
            if not worked:
                return False
        # What a call gives back at its end is done before its report.
        ends = [partial(function.logged, it.headers["x-amzn-requestid"]) for it in replies]
        return answers("DELETE", f"/{name}") and eventually(deployed, before, *ends)

    def use_once() -> bool:
        """Make one call, and wait for its log and its trace."""
        function.renew()
        before = len(deployed.denials())
        reply = client.get(streams)
        trace = reply.headers["x-amzn-trace-id"].partition(";")[0].removeprefix("Root=")

        def traced() -> bool:
            return bool(xray.batch_get_traces(TraceIds=[trace])["Traces"])

        logged = partial(function.logged, reply.headers["x-amzn-requestid"])
        return eventually(deployed, before, logged, traced) and reply.status_code == 200

    with client:
        check_each(deployed, "Recall", use_once, only=LOGS | TRACES)
        check_each(deployed, "Recall", use, only=GRANTS["Recall"] - LOGS - TRACES - TELL_WEBHOOK)


def test_a_key_reads_its_usage_by_one_grant(deployed: Deployed) -> None:
    """The stream function needs its grant to query rollups to show usage.

    It may not query other partitions.
    """

    def use() -> bool:
        headers = {"authorization": f"Bearer {deployed.deployment.key}"}
        answer = httpx.get(f"{deployed.deployment.origin}/v1/usage", headers=headers, timeout=60)
        assert answer.status_code in {200, 503}, answer.text
        return answer.status_code == 200

    table = deployed.deployment.table.name
    check_each(deployed, "Stream", use, only={"dynamodb:Query"}, table=table)


def test_a_repeat_reads_by_its_grants(deployed: Deployed) -> None:
    """The stream function needs its grants to read the stream table to send a response again, and
    to list stored chats.
    """
    url = f"{deployed.deployment.origin}/v1/chat/completions"
    message = json.dumps({"say": ["a", "b"]})
    body = {
        "model": deployed.deployment.model,
        "messages": [{"role": "user", "content": message}],
    }
    headers = {
        "authorization": f"Bearer {deployed.deployment.key}",
        "idempotency-key": secrets.token_hex(8),
    }

    def use() -> bool:
        answers = [httpx.post(url, json=body, headers=headers, timeout=60) for _ in range(2)]
        listed = httpx.get(url, headers=headers, timeout=60)
        return all(it.status_code == 200 for it in (*answers, listed)) and (
            answers[1].headers.get("x-sluice-replayed") == "true"
        )

    only = {"dynamodb:GetItem", "dynamodb:Query"}
    function = Function(deployed, "Stream")
    settings = function.api.get_function_configuration(FunctionName=function.name)
    name = settings["Environment"]["Variables"]["SLUICE_STREAM_TABLE"]
    check_each(deployed, "Stream", use, only=only, table=name)


def test_a_producer_sees_a_cancel_by_its_grant(deployed: Deployed) -> None:
    """The stream function needs its grant to read many heads to stop a response while the model is
    silent. Otherwise it would notice with its next write.
    """
    message = json.dumps({"say": ["a", "b", "c"], "stall_after": 1, "seconds": 4})
    body = {
        "model": deployed.deployment.model,
        "stream": True,
        "messages": [{"role": "user", "content": message}],
        "sluice": {"durable": True},
    }

    def use() -> bool:
        headers = {"authorization": f"Bearer {deployed.deployment.key}"}
        url = f"{deployed.deployment.origin}/v1/chat/completions"
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
            name = answer.headers["x-sluice-stream"]
            asyncio.run(cancelled(deployed, name, ends=False))
            text = answer.read().decode()
        assert '"cancelled"' in text, text
        return '"content":"b"' not in text

    check_each(deployed, "Stream", use, only={"dynamodb:BatchGetItem"})


def test_control_function_has_no_grant_too_many(cloud: LocalCloud, deployed: Deployed) -> None:
    """The admin API needs each grant of the control function for one of its operations."""
    table, function = deployed.deployment.table, Function(deployed, "Control")
    row: dict[str, Any] = {"pk": "USAGE#2020-01-02", "sk": "abcdefghijkl#00#m", "outcomes": {}}
    row |= dict.fromkeys(("requests", "prompt_tokens", "completion_tokens", "cost", "recovered"), 1)
    manager = boto3.client("secretsmanager", **options(cloud))
    arn = deployed.deployment.outputs["AdminSecretArn"]
    secret = manager.get_secret_value(SecretId=arn, VersionStage="AWSCURRENT")["SecretString"]
    url, headers = f"{deployed.deployment.origin}/admin/v1", {"authorization": f"Bearer {secret}"}

    def use() -> bool:
        # a rollup that the ledger does not bear out: making it again removes it
        table.put_item(Item=row)
        kept = httpx.post(
            f"{deployed.deployment.origin}/v1/chat/completions",
            json={
                "model": deployed.deployment.model,
                "messages": [{"role": "user", "content": json.dumps({"say": ["hi"]})}],
                "sluice": {"durable": True},
            },
            headers={"authorization": f"Bearer {deployed.deployment.key}"},
            timeout=60,
        ).headers["x-sluice-stream"]
        with httpx.Client(headers=headers, timeout=60) as client:
            made = client.post(f"{url}/keys", json={"name": "permissions"})
            calls = [made]
            if made.status_code == 201:
                key = f"{url}/keys/{made.json()['id']}"
                hours = {"since": "2020-01-02T00", "until": "2020-01-02T01"}
                calls += [client.get(key), client.get(f"{url}/keys"), client.delete(key)]
                calls += [client.post(f"{url}/rollups/rebuild", json=hours)]
                calls += [client.get(f"{url}/stop")]
                calls += [client.delete(f"{url}/responses/{kept}")]
        assert {call.status_code for call in calls} <= {200, 201, 503}, [
            call.text for call in calls
        ]
        return all(call.status_code < 300 for call in calls)

    def use_renewed() -> bool:
        function.renew()  # new environments, because the old ones keep the secret for some minutes
        return httpx.get(f"{url}/keys", headers=headers, timeout=60).status_code == 200

    check_each(deployed, "Control", use, only=TABLE)
    check_each(deployed, "Control", use_renewed, only={"secretsmanager:GetSecretValue"})


ADMIN_CALLS: dict[str, list[tuple[str, str, Any]]] = {
    "AdminKeys": [
        ("POST", "keys", {"name": "n"}),
        ("PATCH", "keys/{key}", {"owner": "{new}"}),
        ("GET", "keys", None),
        ("DELETE", "keys/{made}", None),  # it has the answers of the key erased, too
    ],
    "AdminBudgets": [
        ("PATCH", "keys/{key}/budget", {"tokens_per_day": "{number}"}),
        ("GET", "budgets", None),
    ],
    "AdminUsage": [("GET", "usage", None), ("GET", "keys", "limit=1")],
    "AdminAudit": [("GET", "audit", "limit=1")],
}


@pytest.mark.parametrize("owner", ADMIN_CALLS)
def test_functions_of_one_right_have_no_grant_too_many(deployed: Deployed, owner: str) -> None:
    """The function of a right needs each of its grants on the table for one of its operations."""
    function = Function(deployed, owner)
    names = {"key": deployed.deployment.key[3:15], "made": ""}

    def call(method: str, path: str, body: Any) -> int:
        event: dict[str, Any] = {"method": method, "path": f"/admin/v1/{path.format(**names)}"}
        if isinstance(body, str):
            event["query"] = body
        elif body is not None:
            fresh = {"{new}": secrets.token_hex(4), "{number}": 10**12 + secrets.randbelow(10**6)}
            event["body"] = {name: fresh.get(value, value) for name, value in body.items()}
        answer = function.api.invoke(FunctionName=function.name, Payload=json.dumps(event))
        found = json.loads(answer["Payload"].read())
        status: int = found["statusCode"]
        if status == 201:
            names["made"] = json.loads(found["body"])["id"]
        return status

    def use() -> bool:
        before = len(deployed.denials())
        statuses = [call(*it) for it in ADMIN_CALLS[owner]]
        assert set(statuses) <= {200, 201, 404, 405, 503}, (
            statuses
        )  # without a key, none is deleted
        assert call("POST", "reconcile", None) == 403  # the refusal is put into the trail
        return statuses == [it for it in statuses if it < 300] and len(deployed.denials()) == before

    def use_renewed() -> bool:
        function.renew()
        return use()

    # An environment reads the secret of page tokens once, and puts few refusals into the trail.
    once = {"dynamodb:GetItem", "dynamodb:PutItem"}
    check_each(deployed, owner, use, only=TABLE - once)
    check_each(deployed, owner, use_renewed, only=once)


def test_sweeper_has_no_grant_too_many(deployed: Deployed) -> None:
    """The sweeper needs each of its grants on the table for some part of a sweep."""
    table, function = deployed.deployment.table, Function(deployed, "Sweeper")
    streams = boto3.resource("dynamodb", **options(deployed.cloud)).Table(
        deployed.deployment.outputs["StreamTableName"]
    )
    long_ago, rolled = "2020-01-01T00", {"pk": "USAGE", "sk": "ROLLED"}
    opened = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
    row: dict[str, Any] = {"pk": "USAGE#2020-01-01", "sk": "abcdefghijkl#00#m", "outcomes": {}}
    row |= dict.fromkeys(("requests", "prompt_tokens", "completion_tokens", "cost", "recovered"), 1)

    made: list[str] = []

    def swept() -> bool:
        return "FunctionError" not in function.api.invoke(FunctionName=function.name, Payload=b"{}")

    def use() -> bool:
        # There is an overdue request that was never begun, in an hour that was rolled long ago, and
        # a wrong row of that hour.
        request_id = new_request_id(opened + 1)
        made.append(request_id)
        nothing = Opening(request_id, "abcdefghijkl", "m", 1, 0, Prices(0, 0))
        table.put_item(Item=json.loads(json.dumps(opening_item(nothing)), parse_float=Decimal))
        streams.put_item(Item=abandoned_head(request_id))
        # A response whose deletion broke off, and a deleted key of which nothing is left.
        for item in hidden(new_request_id(opened)):
            streams.put_item(Item=item)
        streams.put_item(Item={**erasure_key("abcdefghijkl"), "v": 1, "at": 1})
        table.put_item(Item=row)
        table.put_item(Item={"pk": "USAGE", "sk": f"DIRTY#{long_ago}", "mark": "test"})
        table.put_item(
            Item={**rolled, "since": long_ago, "until": datetime.now(UTC).strftime("%Y-%m-%dT%H")}
        )
        return swept()

    def use_from_the_first() -> bool:
        # Without a watermark, rolling begins at the oldest key, which the index of keys has.
        table.delete_item(Key=rolled)
        return swept() and use()

    try:
        check_each(deployed, "Sweeper", use, only=TABLE - {"dynamodb:Query"})
        check_each(deployed, "Sweeper", use_from_the_first, only={"dynamodb:Query"})
    finally:
        table.delete_item(Key=rolled)
        for request_id in made:  # those that were not swept would count as running
            table.delete_item(Key=ledger_key(request_id))


def hidden(request_id: str) -> list[Document]:
    """Return the items of a response that was deleted, and whose content was not removed."""
    head = head_key(request_id)
    common = {"pk": head["pk"], "v": 1, "expires": int(time.time()) + 3600}
    deleted = {"sk": head["sk"], "owner": DELETED, "created": 1, "deleted": 1}
    return [{**common, **deleted}, {**common, "sk": "B#input#0000", "body": b"x"}]


def abandoned_head(request_id: str) -> Document:
    """Return the head of a logged response whose function has died before its first token."""
    head = Head(response_id=request_id, created=1, model="m")
    return {
        **head_key(request_id),
        "v": 1,
        "owner": "abcdefghijkl",
        "created": 1,
        "status": "in_progress",
        "model": "m",
        "form": "chat_stream",
        "kept": "segments",
        "expires": int(time.time()) + 3600,
        "endpoint": "e",
        "dialect": "sluice",
        "writer": "w",
        "lease": 1,
        "head": msgspec.json.encode(head).decode(),
    }


def test_a_settlement_that_comes_second_reads(deployed: Deployed) -> None:
    """The stream function needs its grant to read items when the sweeper settled a request first.

    Without it, it cannot read what the sweeper wrote.
    """
    table = deployed.deployment.table
    headers = {"authorization": f"Bearer {deployed.deployment.key}"}
    url = f"{deployed.deployment.origin}/v1/chat/completions"

    def use(stall: float = 0.5) -> bool:
        """Settle a request while its model stalls. If that came too late, stall longer."""
        message = json.dumps({"say": ["a", "b", "c"], "stall_after": 1, "seconds": stall})
        body = {
            "model": deployed.deployment.model,
            "stream": True,
            "messages": [{"role": "user", "content": message}],
        }
        with httpx.stream("POST", url, json=body, headers=headers, timeout=60) as answer:
            key = ledger_key(answer.headers["x-request-id"].removeprefix("req_"))
            try:
                table.update_item(
                    Key=key,
                    UpdateExpression="SET #state = :settled, recovered = :yes, outcome = :cut, "
                    "prompt_tokens = :no, completion_tokens = :no, cost = :no REMOVE #open, due",
                    ConditionExpression="#state = :opened",
                    ExpressionAttributeNames={"#state": "state", "#open": "open"},
                    ExpressionAttributeValues={
                        ":settled": "SETTLED",
                        ":opened": "OPEN",
                        ":yes": True,
                        ":cut": "cut",
                        ":no": 0,
                    },
                )
            except table.meta.client.exceptions.ConditionalCheckFailedException:
                assert stall < 30, "the model ended its answer first"
                return use(2 * stall)
            before = len(deployed.denials())
            answer.read()
        return eventually(
            deployed, before, lambda: table.get_item(Key=key)["Item"]["outcome"] == "complete"
        )

    check_each(deployed, "Stream", use, only={"dynamodb:GetItem"}, table=table.name)


def test_rotation_has_no_grant_too_many(deployed: Deployed) -> None:
    """The rotation of the admin secret needs each of its grants."""
    function = Function(deployed, "ControlSecretRotation")
    arn = deployed.deployment.outputs["AdminSecretArn"]

    def use() -> bool:
        token = secrets.token_hex(16)
        for step in ("createSecret", "setSecret", "testSecret", "finishSecret"):
            event = {"SecretId": arn, "ClientRequestToken": token, "Step": step}
            if "FunctionError" in function.api.invoke(
                FunctionName=function.name, Payload=json.dumps(event)
            ):
                return False
        return True

    check_each(deployed, "ControlSecretRotation", use, only=GRANTS["ControlSecretRotation"] - LOGS)


@pytest.mark.parametrize("owner", ["Sweeper", "Control", "ControlSecretRotation", "AdminUsage"])
def test_functions_without_a_log_say_nothing(deployed: Deployed, owner: str) -> None:
    """A function needs both grants on its log group for its output to arrive there."""
    function = Function(deployed, owner)

    def use() -> bool:
        function.renew()
        before = len(deployed.denials())
        streams = function.streams()
        function.api.invoke(FunctionName=function.name, Payload=b"{}")
        return eventually(deployed, before, lambda: function.streams() > streams)

    check_each(deployed, owner, use, only=LOGS)


def test_container_has_no_grant_too_many(cloud: LocalCloud, deployed: Deployed) -> None:
    """The endpoint's role needs each of its grants.

    Without one the endpoint does not start, or its log or metrics stay empty.
    """
    api, runtime, logs, cloudwatch = (
        boto3.client(name, **options(cloud))
        for name in ("sagemaker", "sagemaker-runtime", "logs", "cloudwatch")
    )
    name = deployed.deployment.outputs["EndpointName"]
    config = api.describe_endpoint(EndpointName=name)["EndpointConfigName"]

    def use() -> bool:
        """Create the endpoint again under its name: its role may write only to that log group."""
        before, known, counted = len(deployed.denials()), streams(), invocations()
        api.delete_endpoint(EndpointName=name)
        api.create_endpoint(EndpointName=name, EndpointConfigName=config)
        status = "Creating"
        while status == "Creating":
            time.sleep(0.1)
            found = api.describe_endpoint(EndpointName=name)
            status = found["EndpointStatus"]
        if status != "InService":
            assert (
                "Could not access model data" in found["FailureReason"]
                or "permission" in found["FailureReason"]
            )
            return False
        with pytest.raises(
            ClientError, match="ModelError"
        ):  # the body is invalid, but it was an invocation
            runtime.invoke_endpoint(EndpointName=name, Body=b"{}")
        return eventually(
            deployed, before, lambda: streams() > known, lambda: invocations() > counted
        )

    def streams() -> set[str]:
        found = logs.describe_log_streams(logGroupName=f"/aws/sagemaker/Endpoints/{name}")[
            "logStreams"
        ]
        return {stream["logStreamName"] for stream in found}

    def invocations() -> float:
        now = datetime.now(UTC)
        points = cloudwatch.get_metric_statistics(
            Namespace="AWS/SageMaker",
            MetricName="Invocations",
            Dimensions=[
                {"Name": "EndpointName", "Value": name},
                {"Name": "VariantName", "Value": "primary"},
            ],
            StartTime=now - timedelta(hours=1),
            EndTime=now + timedelta(hours=1),
            Period=86_400,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    check_each(deployed, "ModelExecution", use)


def test_function_url_needs_both_permissions(cloud: LocalCloud, deployed: Deployed) -> None:
    """A function URL needs both statements of the function's own policy.

    Without either one it answers 403 and does not invoke the function.
    """
    api = boto3.client("lambda", **options(cloud))
    function = deployed.deployment.outputs["FunctionName"]
    url = f"{deployed.deployment.origin}/v1/models"
    headers = {"authorization": f"Bearer {deployed.deployment.key}"}
    statements = json.loads(api.get_policy(FunctionName=function)["Policy"])["Statement"]
    assert sorted(item["Action"] for item in statements) == [
        "lambda:InvokeFunction",
        "lambda:InvokeFunctionUrl",
    ]
    for statement in statements:
        assert httpx.get(url, headers=headers).status_code == 200
        alias = {"FunctionName": function, "Qualifier": "live"}
        api.remove_permission(**alias, StatementId=statement["Sid"])
        answer = httpx.get(url, headers=headers)
        assert (answer.status_code, "Forbidden" in answer.json()["Message"]) == (403, True)
        condition = {
            name: statement[name]
            for name in ("FunctionUrlAuthType", "InvokedViaFunctionUrl")
            if name in statement
        }
        given = {"Action": statement["Action"], "Principal": "*", **condition}
        api.add_permission(**alias, StatementId=statement["Sid"], **given)
    assert httpx.get(url, headers=headers).status_code == 200


def test_every_role_is_looked_at(deployed: Deployed) -> None:
    """Every role of the stack has a test above, or is held by those of the template."""
    assert {
        deployed.made(owner, "Role", "AWS::IAM::Role") for owner in (*GRANTS, *BY_TEMPLATE)
    } == deployed.roles().keys()
