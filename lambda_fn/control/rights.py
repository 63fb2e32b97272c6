"""Rights: the operations that callers through IAM may use. Pure.

Each right has its own function, whose role can do no more in DynamoDB. An IAM policy on that
function's ARN grants the right. Nothing in a request can grant it.
"""

from typing import Literal, get_args

from lambda_fn.errors import PermissionDenied

Right = Literal["all", "keys", "budgets", "usage", "audit"]
RIGHTS: tuple[Right, ...] = get_args(Right)

_READ = frozenset({"listKeys", "getKey", "listBudgets", "getBudget"})
OPERATIONS: dict[Right, frozenset[str]] = {
    "keys": _READ | {"createKey", "updateKey", "rotateKey", "revokeKey", "deleteKey"},
    "budgets": _READ | {"updateBudget"},
    "usage": _READ | {"listUsage", "getRequest"},
    "audit": frozenset({"listAudit"}),
}
"""Right -> its operations in the OpenAPI document. All other operations need the right `all`."""


def check(right: Right, operation: str) -> None:
    """Raise PermissionDenied if a right does not include an operation."""
    if right != "all" and operation not in OPERATIONS[right]:
        rights = [name for name, operations in OPERATIONS.items() if operation in operations]
        text = f"The right '{right}' does not include {operation}"
        raise PermissionDenied(
            f"{text}. Invoke the function of the right {' or '.join(['all', *rights])}.",
            code="right_missing",
        )
