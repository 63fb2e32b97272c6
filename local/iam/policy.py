"""Evaluates IAM's policy language. Pure.

It supports statements with Action or NotAction, Resource or NotResource, Principal, and conditions
with the operators of `_OPERATORS`, `...IfExists`, `ForAnyValue:` and `ForAllValues:`. A condition
that cannot be evaluated (because of another operator, or a policy variable) never grants access: it
holds in a Deny, and does not hold in an Allow. Sources: the IAM user guide, "Policy evaluation
logic" and "IAM JSON policy elements".
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

Context = Mapping[str, tuple[str, ...]]
"""Condition keys in lower case, with their values."""


class Verdict(Enum):
    """The result of evaluating policies. SILENT means that no statement concerns the request."""

    ALLOWED = "allowed"
    SILENT = "silent"
    DENIED = "denied"


@dataclass(frozen=True)
class Need:
    """One permission that a request needs: an IAM action, on an ARN or `*`, in a context."""

    action: str
    resource: str
    context: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Principal:
    """The caller: the ARNs that name it, and its account. An anonymous caller has none."""

    arns: tuple[str, ...] = ()
    account: str = ""


@dataclass(frozen=True)
class Statement:
    """One statement. Patterns are as written; `principals` is None if the policy names none."""

    allow: bool
    actions: tuple[str, ...]
    actions_negated: bool
    resources: tuple[str, ...]
    resources_negated: bool
    principals: tuple[str, ...] | None
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]


def parse(document: str | Mapping[str, Any]) -> tuple[Statement, ...]:
    """Return the statements of a policy document, which may be JSON text."""
    content = json.loads(document) if isinstance(document, str) else document
    return tuple(_statement(item) for item in _list(content.get("Statement", ())))


def evaluate(
    statements: Iterable[Statement],
    need: Need,
    context: Context,
    principal: Principal | None = None,
) -> Verdict:
    """Return the verdict: a matching Deny wins over every Allow.

    `context` has the condition keys of the caller and the request. Pass `principal` for the policy
    of a resource, which names the callers that it concerns.
    """
    keys = {**context, **{name.lower(): values for name, values in need.context}}
    verdict = Verdict.SILENT
    for statement in statements:
        if not _concerns(statement, need, keys, principal):
            continue
        if not statement.allow:
            return Verdict.DENIED
        verdict = Verdict.ALLOWED
    return verdict


def _statement(item: Mapping[str, Any]) -> Statement:
    actions_negated, resources_negated = "NotAction" in item, "NotResource" in item
    conditions = tuple(
        (operator, key.lower(), tuple(_text(value) for value in _list(values)))
        for operator, tests in item.get("Condition", {}).items()
        for key, values in tests.items()
    )
    return Statement(
        allow=item["Effect"] == "Allow",
        actions=tuple(_list(item.get("NotAction" if actions_negated else "Action", ()))),
        actions_negated=actions_negated,
        # A role's trust policy has no resource: its resource is the role.
        resources=tuple(_list(item.get("NotResource" if resources_negated else "Resource", "*"))),
        resources_negated=resources_negated,
        principals=_principals(item["Principal"]) if "Principal" in item else None,
        conditions=conditions,
    )


def _principals(principal: Any) -> tuple[str, ...]:
    if isinstance(principal, str):
        return (principal,)
    return tuple(str(value) for values in principal.values() for value in _list(values))


def _list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _concerns(
    statement: Statement, need: Need, context: Context, principal: Principal | None
) -> bool:
    action = need.action.lower()
    return (
        any(matches(pattern.lower(), action) for pattern in statement.actions)
        != statement.actions_negated
        and any(matches(pattern, need.resource) for pattern in statement.resources)
        != statement.resources_negated
        and (principal is None or _named(statement, principal))
        and all(_holds(statement.allow, *condition, context) for condition in statement.conditions)
    )


def _named(statement: Statement, principal: Principal) -> bool:
    # NotPrincipal is not evaluated: such a statement concerns every caller if it denies, and none
    # if it allows.
    if statement.principals is None:
        return not statement.allow
    account = (
        {principal.account, f"arn:aws:iam::{principal.account}:root"}
        if principal.account
        else set()
    )
    return any(
        name == "*" or name in principal.arns or name in account for name in statement.principals
    )


@lru_cache(maxsize=4096)
def _pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(
        "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in pattern),
        re.DOTALL,
    )


def matches(pattern: str, value: str) -> bool:
    """Return whether a value matches a pattern: `*` stands for any text, `?` for one character."""
    return _pattern(pattern).fullmatch(value) is not None


def _equal_ignoring_case(expected: str, value: str) -> bool:
    return expected.lower() == value.lower()


_OPERATORS: dict[str, tuple[Callable[[str, str], bool], bool]] = {
    "StringEquals": (str.__eq__, False),
    "StringNotEquals": (str.__eq__, True),
    "StringEqualsIgnoreCase": (_equal_ignoring_case, False),
    "StringNotEqualsIgnoreCase": (_equal_ignoring_case, True),
    "StringLike": (matches, False),
    "StringNotLike": (matches, True),
    "ArnEquals": (matches, False),
    "ArnNotEquals": (matches, True),
    "ArnLike": (matches, False),
    "ArnNotLike": (matches, True),
    "Bool": (_equal_ignoring_case, False),
}


def _holds(
    allow: bool, operator: str, key: str, expected: tuple[str, ...], context: Context
) -> bool:
    values = context.get(key, ())
    quantifier, _, operator = operator.rpartition(":")
    if operator == "Null":
        return any(_equal_ignoring_case(item, str(not values).lower()) for item in expected)
    if_exists = operator.endswith("IfExists")
    test = _OPERATORS.get(operator.removesuffix("IfExists"))
    if test is None or any("${" in item for item in expected):
        return not allow
    matching, negated = test
    if not values:
        # A negated operator holds if the key is missing, and so does ForAllValues; no other
        # operator does.
        return if_exists or quantifier == "ForAllValues" or (negated and not quantifier)
    results = [any(matching(item, value) for item in expected) != negated for value in values]
    return any(results) if quantifier == "ForAnyValue" else all(results)
