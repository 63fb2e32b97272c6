"""Restores of a table that has no history."""

from datetime import UTC, datetime

from tests.support.local_cloud import Client


def test_only_the_present_can_be_restored(client: Client) -> None:
    """The bounds are the moment of the call, because a restored table has the items of then."""
    dynamodb = client("dynamodb")
    key = [{"AttributeName": "pk", "AttributeType": "S"}]
    schema = [{"AttributeName": "pk", "KeyType": "HASH"}]
    dynamodb.create_table(
        TableName="old",
        AttributeDefinitions=key,
        KeySchema=schema,
        BillingMode="PAY_PER_REQUEST",
    )
    described = dynamodb.describe_continuous_backups(TableName="old")
    off = described["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert off == {"PointInTimeRecoveryStatus": "DISABLED"}
    dynamodb.update_continuous_backups(
        TableName="old", PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    dynamodb.put_item(TableName="old", Item={"pk": {"S": "later"}})
    before = datetime.now(UTC).replace(microsecond=0)
    described = dynamodb.describe_continuous_backups(TableName="old")
    recovery = described["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
    assert before <= recovery["EarliestRestorableDateTime"]
    assert recovery["EarliestRestorableDateTime"] == recovery["LatestRestorableDateTime"]
    dynamodb.restore_table_to_point_in_time(
        SourceTableName="old", TargetTableName="new", UseLatestRestorableTime=True
    )
    assert dynamodb.scan(TableName="new")["Items"] == [{"pk": {"S": "later"}}]
    for name in ("old", "new"):
        dynamodb.delete_table(TableName=name)
