"""`sluice restore` over the local cloud: the table that it makes, and what it refuses."""

import asyncio
import json
from typing import Any

import boto3
import pytest

from cli.commands import restore
from cli.main import main
from lambda_fn.ids import key_id_of
from lambda_fn.metering.keys import account_key
from local.cloud import LocalCloud
from tests.support.deployments import Deployment, options
from tests.support.verified import target_of

pytestmark = pytest.mark.e2e


@pytest.fixture
def dynamodb(cloud: LocalCloud, scripted: Deployment, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lead the command to the deployment, and return a client of its tables."""
    monkeypatch.setattr(restore, "aws_options", lambda _: options(cloud))
    monkeypatch.setattr(restore, "outputs_of", lambda *_: scripted.outputs)
    return boto3.client("dynamodb", **options(cloud))


def test_a_restored_table_is_whole(
    cloud: LocalCloud, scripted: Deployment, dynamodb: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The new table has the old one's items and features; damage in its items is told."""
    target = target_of(cloud, scripted)
    target.key = scripted.key
    target.ledger(target.chat(max_tokens=4))
    # Other tests share the deployment, and may have left differences on purpose.
    left = len(target.admin("POST", "/reconcile")["differences"])
    assert main(["restore", "--yes", "--json"]) == (1 if left else 0)
    found = json.loads(capsys.readouterr().out)
    assert found["differences"] == left
    assert found["keys"] >= 1
    assert f"usage_table={found['table']}" in found["deploy"]
    names = {"source": found["source"], "restored": found["table"]}
    kept = {}
    for which, name in names.items():
        backups = dynamodb.describe_continuous_backups(TableName=name)
        table = dynamodb.describe_table(TableName=name)["Table"]
        tags = dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
        kept[which] = [
            backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"][
                "PointInTimeRecoveryStatus"
            ],
            dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"],
            sorted(index["IndexName"] for index in table["GlobalSecondaryIndexes"]),
            sorted((tag["Key"], tag["Value"]) for tag in tags if tag["Key"].startswith("sluice:")),
        ]
    assert kept["restored"] == kept["source"]

    damaged = boto3.resource("dynamodb", **options(cloud)).Table(found["table"])
    damaged.update_item(
        Key=account_key(str(key_id_of(scripted.key))),
        UpdateExpression="ADD completion_tokens :one",
        ExpressionAttributeValues={":one": 1},
    )
    known = _differences(cloud, names["source"])
    [difference] = [one for one in _differences(cloud, found["table"]) if one not in known]
    assert (difference.field, difference.places) == ("completion_tokens", ("account", "ledger"))
    dynamodb.delete_table(TableName=found["table"])


@pytest.mark.usefixtures("dynamodb")
def test_the_local_cloud_has_no_history(capsys: pytest.CaptureFixture[str]) -> None:
    """An earlier moment is refused where a restore would have the items of now."""
    assert main(["restore", "--yes", "--to", "2026-01-01T10:30"]) == 1
    error = " ".join(capsys.readouterr().err.split())
    assert "can only be restored as it is now: leave --to out" in error


def _differences(cloud: LocalCloud, table: str) -> list[Any]:
    return asyncio.run(restore.reconciled(table, options(cloud))).differences


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ("2099-01-01", 2, "is in the future"),
        ("yesterday", 2, "is not a time"),
    ],
)
def test_impossible_moments(
    asked: str, status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A moment that cannot be restored is refused before anything is made."""
    with pytest.raises(SystemExit) as ended:
        main(["restore", "--yes", "--to", asked])
    assert ended.value.code == status
    assert words in capsys.readouterr().err
