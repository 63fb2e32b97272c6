"""Faults of DynamoDB's calls: their tables, their form, and their effect."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from local.cloud import LocalCloud
from local.faults import dynamodb
from tests.support.local_cloud import Client


@pytest.mark.parametrize(
    ("call", "tables"),
    [
        ({"TableName": "a", "Item": {"TableName": {"S": "b"}}}, {"a"}),
        ({"TableName": "arn:aws:dynamodb:us-east-1:1:table/a"}, {"a"}),
        ({"RequestItems": {"a": [], "b": []}}, {"a", "b"}),
        (
            {"TransactItems": [{"Put": {"TableName": "a"}}, {"Update": {"TableName": "b"}}]},
            {"a", "b"},
        ),
        ({}, set()),
    ],
)
def test_tables_of_a_call(call: dict[str, Any], tables: set[str]) -> None:
    """The tables of every form of call are found."""
    assert dynamodb._tables(json.loads(json.dumps(call))) == tables


@contextlib.contextmanager
def _fault(cloud: LocalCloud, **fields: object) -> Iterator[None]:
    cloud.ask("faults", method="POST", body=fields)
    yield
    cloud.ask("faults", method="DELETE")


@pytest.mark.parametrize(
    ("kind", "code", "status"),
    [
        ("table-throttled", "ProvisionedThroughputExceededException", 400),
        ("table-down", "InternalServerError", 500),
    ],
)
def test_dynamodbs_own_errors(
    cloud: LocalCloud, client: Client, kind: str, code: str, status: int
) -> None:
    """Stock boto3 reads a table's fault as DynamoDB's own error.

    Other tables and calls are not affected.
    """
    dynamodb = client("dynamodb")
    with _fault(cloud, kind=kind, scope="struck", operation="Put*"):
        with pytest.raises(ClientError) as caught:
            dynamodb.put_item(TableName="struck", Item={"pk": {"S": "1"}})
        response = caught.value.response
        assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (
            code,
            status,
        )
        for call in (dynamodb.put_item, dynamodb.get_item):
            argument = "Item" if call == dynamodb.put_item else "Key"
            with pytest.raises(dynamodb.exceptions.ResourceNotFoundException):
                call(TableName="other", **{argument: {"pk": {"S": "1"}}})


def test_a_lost_answer(cloud: LocalCloud, client: Client) -> None:
    """A call whose response is lost was carried out. A call that did not arrive was not."""
    dynamodb = client("dynamodb")
    dynamodb.create_table(
        TableName="lost",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    for kind in ("table-answer-lost", "table-unreachable"):
        with _fault(cloud, kind=kind, scope="lost"), pytest.raises(ConnectionClosedError):
            dynamodb.put_item(TableName="lost", Item={"pk": {"S": kind}})
    assert [item["pk"]["S"] for item in dynamodb.scan(TableName="lost")["Items"]] == [
        "table-answer-lost"
    ]
    dynamodb.delete_table(TableName="lost")
