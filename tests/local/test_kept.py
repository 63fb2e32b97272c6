"""What outlives a local cloud, and the folder that it lives in."""

import json
import shutil
from pathlib import Path
from typing import Any, Self

import boto3
import pytest

from local.cloud import STATE, LocalCloud, LocalCloudError, _children
from local.kept import KeptError, check
from tests.support.local_cloud import CONTAINER

TEMPLATE = {
    "Resources": {
        "Table": {
            "Type": "AWS::DynamoDB::GlobalTable",
            "Properties": {
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
                "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                "BillingMode": "PAY_PER_REQUEST",
                "Replicas": [{"Region": "us-east-1"}],
            },
        },
        "Secret": {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {"GenerateSecretString": {"PasswordLength": 20}},
        },
    },
    "Outputs": {"Table": {"Value": {"Ref": "Table"}}, "Secret": {"Value": {"Ref": "Secret"}}},
}
ITEM = {
    "pk": {"S": "a"},
    "bytes": {"B": b"\x00\xff"},
    "deep": {"M": {"list": {"L": [{"N": "1.5"}, {"BOOL": True}, {"NULL": True}]}}},
    "set": {"SS": ["x", "y"]},
    "blobs": {"L": [{"BS": [b"1", b"2"]}]},
}


class Run:
    """One run of a local cloud in a folder, with the stack of `TEMPLATE`."""

    def __init__(self, folder: Path) -> None:
        """Start it."""
        self.cloud = LocalCloud.start(folder, container=CONTAINER)
        self.clients: list[Any] = []

    def __enter__(self) -> Self:
        """Return the run."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        for client in self.clients:
            client.close()
        self.cloud.stop()

    def client(self, service: str) -> Any:
        """Return a stock client."""
        self.clients.append(boto3.client(service, **self.cloud.client_options()))
        return self.clients[-1]

    def deploy(self, name: str) -> tuple[str, str, list[Any]]:
        """Create the stack. Return its table's name, its secret and the table's items."""
        stacks = self.client("cloudformation")
        stacks.create_stack(StackName=name, TemplateBody=json.dumps(TEMPLATE))
        stacks.get_waiter("stack_create_complete").wait(StackName=name, WaiterConfig={"Delay": 1})
        [stack] = stacks.describe_stacks(StackName=name)["Stacks"]
        found = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        secret = self.client("secretsmanager").get_secret_value(SecretId=found["Secret"])
        items = self.client("dynamodb").scan(TableName=found["Table"])["Items"]
        return found["Table"], secret["SecretString"], items


def test_tables_and_secrets_outlive_a_restart(tmp_path: Path) -> None:
    """A stack that is deployed again finds its items and its secret under the same name.

    They wait through a run that does not deploy it, and another stack gets nothing of them. What a
    stack's deletion removed is gone.
    """
    with Run(tmp_path) as first:
        table, secret, items = first.deploy("kept")
        assert items == []
        first.client("dynamodb").put_item(TableName=table, Item=ITEM)
    assert (tmp_path / STATE).stat().st_mode & 0o777 == 0o600
    with Run(tmp_path) as other:
        assert other.deploy("kept2")[2] == []
    with Run(tmp_path) as again:
        assert again.deploy("kept") == (table, secret, [ITEM])
        stacks = again.client("cloudformation")
        stacks.delete_stack(StackName="kept")
        stacks.get_waiter("stack_delete_complete").wait(StackName="kept", WaiterConfig={"Delay": 1})
        assert again.deploy("kept")[0] != table


def test_a_removed_folder_ends_its_cloud(tmp_path: Path) -> None:
    """Without its folder nobody could stop the local cloud, so it ends, and leaves nothing."""
    folder = tmp_path / "cloud"
    run = Run(folder)
    shutil.rmtree(folder)
    assert _children[run.cloud.pid].wait(60) == 0
    assert not folder.exists()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 2, "tables": {}, "secrets": {}}',
        '{"version": 1, "tables": {}}',
        '{"version": 1, "tables": {"t": {"region": "r", "keys": []}}, "secrets": {}}',
        '{"version": 1, "tables": {}, "secrets": {"s": {"region": "r", "value": 5}}}',
        "[" * 100_000,
    ],
)
def test_damaged_files_are_rejected(text: str) -> None:
    """A file that is truncated, foreign or of another version is rejected."""
    with pytest.raises(KeptError):
        check(text.encode())


@pytest.mark.parametrize(
    "item",
    [
        {"a": {"S": "x"}},  # without the table's key
        {"pk": {"S": 5}},
        {"pk": {"S": "x", "N": "1"}},
        {"pk": {"N": "one"}},
        {"pk": {"B": "?"}},
        {"pk": {"SS": [1]}},
        {"pk": {"M": {"a": {"L": [{"X": 1}]}}}},
        {"pk": {"NULL": False}},
        {"pk": "x"},
        [],
    ],
)
def test_a_damaged_item_is_named(item: object) -> None:
    """An item that DynamoDB could not hold is found at the start, not when its stack is made."""
    table = {"region": "r", "keys": [{"AttributeName": "pk", "KeyType": "HASH"}]}
    kept = {"version": 1, "secrets": {}, "tables": {"t": {**table, "items": [item]}}}
    with pytest.raises(KeptError, match=r"item 0 of `tables\.t`"):
        check(json.dumps(kept).encode())


def test_a_damaged_file_stops_the_start(tmp_path: Path) -> None:
    """Keys are not forgotten silently: the error says how to begin without them."""
    (tmp_path / STATE).mkdir()
    with pytest.raises(LocalCloudError, match=r"is a directory; .*sluice up --reset"):
        LocalCloud.start(tmp_path, container=CONTAINER)
