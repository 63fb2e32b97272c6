"""`sluice keys`: API keys."""

import time
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from lambda_fn import accounts


def create(table: Any, *, name: str) -> str:
    """Make a key and its account.

    Args:
        table: boto3's UsageTable.
        name: What the key is called.

    Returns:
        The key. It is kept nowhere else: the table has its hash.

    """
    key = accounts.new_key()
    item = accounts.new_account(key, name=name, now=int(time.time()))
    deserialize = TypeDeserializer().deserialize
    plain = {attribute: deserialize(value) for attribute, value in item.items()}
    table.put_item(Item=plain, ConditionExpression="attribute_not_exists(pk)")
    return key
