"""The server in front of moto, which has no locks of its own."""

from concurrent.futures import ThreadPoolExecutor

from tests.support.local_cloud import Client


def test_moto_under_many_threads(client: Client) -> None:
    """While many clients write the same objects, conditions hold and the objects can be read."""
    table, bucket = "t-threads", "t-threads"
    key = [{"AttributeName": "pk", "KeyType": "HASH"}]
    attribute = [{"AttributeName": "pk", "AttributeType": "S"}]
    dynamodb, s3 = client("dynamodb"), client("s3")
    dynamodb.create_table(
        TableName=table,
        KeySchema=key,
        AttributeDefinitions=attribute,
        BillingMode="PAY_PER_REQUEST",
    )
    dynamodb.put_item(TableName=table, Item={"pk": {"S": "a"}, "left": {"N": "20"}})
    s3.create_bucket(Bucket=bucket)

    def once(_: int) -> bool:
        s3.put_object(Bucket=bucket, Key="k", Body=b"v" * 50_000)
        assert len(s3.get_object(Bucket=bucket, Key="k")["Body"].read()) == 50_000
        try:
            dynamodb.update_item(
                TableName=table,
                Key={"pk": {"S": "a"}},
                UpdateExpression="SET #l = #l - :one",
                ConditionExpression="#l > :zero",
                ExpressionAttributeNames={"#l": "left"},
                ExpressionAttributeValues={":one": {"N": "1"}, ":zero": {"N": "0"}},
            )
        except dynamodb.exceptions.ConditionalCheckFailedException:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(once, range(60))) == 20
