"""Holds IAM policies against AWS's service authorization reference, as policy-sentry has it.

An action that does not exist grants nothing. A condition on a key that the action does not send
never holds: the grant is empty, and the first call is denied. cfn-lint checks the grammar and the
kinds of resources.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any

from policy_sentry.querying.actions import get_action_data

_EVERYWHERE = "aws:"
"""The beginning of the keys that requests of every service have."""


def problems(template: dict[str, Any]) -> Iterator[str]:
    """Yield a sentence for each action of a role's policy that grants less than it says."""
    for name, resource in template["Resources"].items():
        if resource["Type"] == "AWS::IAM::Policy":
            for statement in _list(resource["Properties"]["PolicyDocument"]["Statement"]):
                yield from (f"{name}: {says}" for says in _statement(statement))


def _statement(statement: dict[str, Any]) -> Iterator[str]:
    keys = {key for test in statement.get("Condition", {}).values() for key in test}
    for action in _list(statement["Action"]):
        known = keys_of(action)
        if known is None:
            yield f"{action}: there is no such action"
            continue
        for key in sorted(keys):
            if not key.startswith(_EVERYWHERE) and key not in known:
                yield f"{action}: has no condition key {key}, only {sorted(known)}"


@cache
def keys_of(action: str) -> frozenset[str] | None:
    """Return the condition keys of an action. None if it does not exist."""
    service, _, name = action.partition(":")
    found = get_action_data(service, name)
    if not found:
        return None
    return frozenset(
        key for rows in found.values() for row in rows for key in row["condition_keys"]
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
