"""Rights: what the callers of one of the functions that IAM leads to may do. Pure.

Each right has a function of its own, with a role that can do no more in DynamoDB: a policy on that function's ARN is
the grant, and nothing of it is decided by what a caller sends.
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
"""By right, the operations of the OpenAPI document. What is in none of them takes the right `all`."""


def check(right: Right, operation: str) -> None:
    """Let through what a right has. Raises PermissionDenied."""
    if right != "all" and operation not in OPERATIONS[right]:
        having = [name for name, operations in OPERATIONS.items() if operation in operations]
        text = f"The right '{right}' does not have {operation}"
        raise PermissionDenied(f"{text}: invoke the function of {' or '.join(['all', *having])}.", code="right_missing")
