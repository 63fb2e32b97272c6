"""The moments to which a table can be restored: only the present one.

moto has no history of a table. A restore copies the items of the moment of the call, but moto tells
as the bounds the moment at which recovery was turned on.
"""

from typing import Any

from moto.core.utils import unix_time
from moto.dynamodb.models import DynamoDBBackend

_BOUNDS = ("EarliestRestorableDateTime", "LatestRestorableDateTime")


def install() -> None:
    """Apply the patch. Call it once, in the control plane's process."""
    describe = DynamoDBBackend.describe_continuous_backups

    def describe_now(backend: Any, table_name: str) -> dict[str, Any]:
        backups = describe(backend, table_name)
        recovery = backups["PointInTimeRecoveryDescription"]
        now = unix_time()
        bounds = {bound: now for bound in _BOUNDS if bound in recovery}
        return {**backups, "PointInTimeRecoveryDescription": {**recovery, **bounds}}

    DynamoDBBackend.describe_continuous_backups = describe_now
