"""Tables that templates create, update and delete, read with boto3."""

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.local_cloud import Client, Stacks


def test_global_table(client: Client, stacks: Stacks) -> None:
    """A table has an index, a time to live and recovery. Later indexes are added one at a time."""
    api = client("dynamodb")

    def template(indexes: int, protected: bool) -> dict[str, Any]:
        names = ["pk", "sk", *(f"gsi{number}" for number in range(indexes))]
        properties = {
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            "AttributeDefinitions": [
                {"AttributeName": name, "AttributeType": "S"} for name in names
            ],
            "BillingMode": "PAY_PER_REQUEST",
            "TimeToLiveSpecification": {"AttributeName": "ends", "Enabled": True},
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": name,
                    "KeySchema": [{"AttributeName": name, "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "ALL"},
                }
                for name in names[2:]
            ],
            "Replicas": [
                {
                    "Region": "us-east-1",
                    "DeletionProtectionEnabled": protected,
                    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                }
            ],
        }
        return {"Table": {"Type": "AWS::DynamoDB::GlobalTable", "Properties": properties}}

    stack = stacks.create(
        template(1, True), {"Name": {"Ref": "Table"}, "Arn": {"Fn::GetAtt": ["Table", "Arn"]}}
    )
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    name = stacks.outputs(stack)["Name"]
    table = api.describe_table(TableName=name)["Table"]
    assert table["TableArn"] == stacks.outputs(stack)["Arn"]
    assert table["DeletionProtectionEnabled"]
    assert (
        api.describe_time_to_live(TableName=name)["TimeToLiveDescription"]["AttributeName"]
        == "ends"
    )
    backups = api.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    api.put_item(TableName=name, Item={"pk": {"S": "a"}, "sk": {"S": "b"}})

    stacks.update(stack, template(2, False), {"Name": {"Ref": "Table"}})
    assert stacks.status(stack) == "UPDATE_COMPLETE", stacks.reasons(stack)
    table = api.describe_table(TableName=name)["Table"]
    assert sorted(index["IndexName"] for index in table["GlobalSecondaryIndexes"]) == [
        "gsi0",
        "gsi1",
    ]
    stacks.update(stack, template(4, False), {"Name": {"Ref": "Table"}})
    assert (
        "Cannot perform more than one GSI creation or deletion in a single update"
        in stacks.reasons(stack)
    )
    assert api.scan(TableName=name)["Count"] == 1

    stacks.delete(stack)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        api.describe_table(TableName=name)
