"""The grants of the roles in a synthesised stack, in words."""

import json
import re
from collections.abc import Sequence
from typing import Any

from tests.support.synthesis import FUNCTIONS

ADMINS = ["AdminAll", "AdminKeys", "AdminBudgets", "AdminUsage", "AdminAudit"]
"""The admin functions, which callers invoke by IAM."""


OWNERS = [*FUNCTIONS, *ADMINS]


ROLES = [*OWNERS, "ModelExecution"]


def statements(synthesis: Any, owner: str) -> list[dict[str, Any]]:
    """Return the policy statements of a construct's role in the service stack."""
    roles = {
        key: it
        for key, it in synthesis.service["Resources"].items()
        if it["Type"] == "AWS::IAM::Role"
    }
    (name,) = [key for key in roles if re.fullmatch(f"{owner}Role[0-9A-F]{{8}}", key)]
    role = roles[name]["Properties"]
    assert "ManagedPolicyArns" not in role
    assert "Policies" not in role
    policies = [it["Properties"] for it in synthesis.resources("AWS::IAM::Policy")]
    own = [it["PolicyDocument"]["Statement"] for it in policies if it["Roles"] == [{"Ref": name}]]
    return [statement for document in own for statement in document]


def granted(synthesis: Any, owner: str) -> dict[tuple[str, ...], str]:
    """Return the resources of a role's grants in words (table, index, log, ...), by action."""
    pairs = {}
    for statement in statements(synthesis, owner):
        pairs[tuple(sorted(actions(statement)))] = _where(statement)
    return pairs


def _where(statement: dict[str, Any]) -> str:
    """Return the resource of a statement in words, with its conditions."""
    where = in_words(statement["Resource"])
    if "Condition" not in statement:
        return where
    return f"{where} if {json.dumps(statement['Condition'], sort_keys=True)}"


def in_words(resource: Any) -> str:
    """Return the last part of a resource's reference, without hashes."""
    text = json.dumps(resource)
    if ":sagemaker:" in text:
        return " ".join(re.findall(r":((?:endpoint|inference-component)/[\w-]+)", text))
    if text == '"*"':
        return "*"
    indexes = re.findall(r"/index/(\w+)", text)
    for table in TABLES:
        if f"{table}Table" in text:
            name = TABLES[table]
            return f"{name}, index {' '.join(indexes)}" if indexes else name
    [name] = re.findall(r'"(?:Ref|Fn::GetAtt)": \[?"(\w+)[0-9A-F]{8}"', text)
    return str(name)


def actions(statement: dict[str, Any]) -> set[str]:
    """Return the actions of a statement as a list. A single action is a text."""
    value = statement["Action"]
    return {value} if isinstance(value, str) else set(value)


TABLES = {"Usage": "table", "Streams": "streams"}
"""What tests call the tables, by their constructs."""


WRITES = ("dynamodb:PutItem", "dynamodb:Query", "dynamodb:UpdateItem")


GET, DELETE = "dynamodb:GetItem", "dynamodb:DeleteItem"


LOG = ("logs:CreateLogStream", "logs:PutLogEvents")


def leading(*names: str) -> dict[str, Any]:
    """Return the condition that holds only in these partitions."""
    return {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(names)},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def partitions(
    *names: str, table: str = "table", attributes: Sequence[str] = (), writes: bool = True
) -> str:
    """Return the description of a grant on a table in these partitions only.

    With `attributes`, a call may name no others; one that `writes` gets no item back.
    """
    conditions = leading(*names)
    if attributes:
        conditions["ForAllValues:StringEquals"] = {"dynamodb:Attributes": ["pk", "sk", *attributes]}
        conditions["Null"]["dynamodb:Attributes"] = "false"
        if writes:
            conditions["StringEqualsIfExists"] = {"dynamodb:ReturnValues": "NONE"}
    return f"{table} if {json.dumps(conditions, sort_keys=True)}"


ROLLUPS = ("USAGE", "USAGE#*")


ONLY_ROLLUPS = partitions(*ROLLUPS)


BOOKS = ("KEY#*", "LEDGER#*", *ROLLUPS)


def tables(synthesis: Any, owner: str) -> set[tuple[str, str]]:
    """Return action and place of each of a role's grants on the tables."""
    return {
        (
            action,
            _where(it),
        )
        for it in statements(synthesis, owner)
        for action in actions(it)
        if action.startswith("dynamodb:")
    }
