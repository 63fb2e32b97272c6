"""`sluice keys`: API keys."""

import time
from typing import Any

from lambda_fn import ids
from lambda_fn.metering import accounts


def create(table: Any, *, name: str, limits: accounts.Limits = accounts.NO_LIMITS) -> str:
    """Make a key and its account.

    Args:
        table: boto3's UsageTable.
        name: What the key is called.
        limits: What it may use.

    Returns:
        The key. It is kept nowhere else: the table has its hash.

    """
    key = ids.new_key()
    item = accounts.new_account(key, name=name, now=int(time.time()), limits=limits)
    table.put_item(Item=item, ConditionExpression="attribute_not_exists(pk)")
    return key
