"""Create API keys directly in a usage table, for benchmarks and test programs.

Commands use the admin API instead.
"""

import time
from typing import Any

from lambda_fn import ids
from lambda_fn.metering import accounts


def create(table: Any, *, name: str, limits: accounts.Limits = accounts.NO_LIMITS) -> str:
    """Create a key and its account.

    Args:
        table: boto3's UsageTable.
        name: The key's name.
        limits: The key's limits.

    Returns:
        The key. The table has only its hash.

    """
    key = ids.new_key()
    item = accounts.new_account(key, name=name, now=int(time.time()), limits=limits)
    table.put_item(Item=item, ConditionExpression="attribute_not_exists(pk)")
    return key
