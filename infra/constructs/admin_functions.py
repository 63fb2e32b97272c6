"""The functions by which IAM leads to the admin API: one a right, each with a role that can do no more."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.function import add_function
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.settings.deployment import Settings

Right = Literal["all", "keys", "budgets", "usage", "audit"]

_KEYS, _LEDGER, _ROLLUPS = "KEY#*", "LEDGER#*", ("USAGE", "USAGE#*")
_TRAIL, _PAGES = "AUDIT#*", "CONTROL"
_PARTITIONS: Mapping[Right, Mapping[str, Sequence[str]]] = {
    "all": {
        "GetItem": (_KEYS, _LEDGER, *_ROLLUPS),
        "Query": (_KEYS, _LEDGER, *_ROLLUPS, _TRAIL),
        "PutItem": (_KEYS, _LEDGER, *_ROLLUPS),
        "UpdateItem": (_KEYS, _LEDGER, "USAGE"),
        "DeleteItem": _ROLLUPS,
    },
    "keys": {"GetItem": (_KEYS,), "PutItem": (_KEYS,), "UpdateItem": (_KEYS, _LEDGER)},
    "budgets": {"GetItem": (_KEYS,), "UpdateItem": (_KEYS,)},
    "usage": {"GetItem": (_KEYS, _LEDGER, *_ROLLUPS), "Query": (_LEDGER, *_ROLLUPS)},
    "audit": {"Query": (_TRAIL,)},
}
"""What each right takes, beside what all do: the secret of page tokens, and entries of the audit trail, which nobody
changes or removes.
"""


class AdminFunctions(Construct):
    """From the control function's package. They have no URL, and nothing on the internet takes of their concurrency:
    a flood of what the distribution lets through throttles the function of the URL and none of these.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, root: Path, settings: Settings, usage_table: UsageTable
    ) -> None:
        """Package and create them, and grant each its right."""
        super().__init__(scope, construct_id)
        self.functions: dict[Right, lambda_.Function] = {}
        for right in _PARTITIONS:
            self.functions[right] = add_function(
                Construct(self, right.capitalize()),
                root=root,
                settings=settings,
                content="control",
                handler="lambda_fn.control.handler.handler",
                description=f"Serves the admin API to whom IAM lets invoke it: {right}",
                timeout=LIMITS.control_timeout,
                environment={**admin_environment(settings, usage_table), "SLUICE_ADMIN_RIGHT": right},
            )
            grant_right(usage_table, self.functions[right], right)


def admin_environment(settings: Settings, usage_table: UsageTable) -> dict[str, str]:
    """What every function of the admin API is told."""
    return {
        "SLUICE_USAGE_TABLE": usage_table.table.table_name,
        "SLUICE_MODEL_NAMES": json.dumps([settings.model_name, *settings.others]),
        "SLUICE_UNPRICED_MODELS": json.dumps(settings.unpriced_models),
        "SLUICE_DEFAULT_MAX_STREAMS": str(settings.new_key_streams),
        "SLUICE_AUDIT_DAYS": str(settings.audit_days),
    }


def grant_right(usage_table: UsageTable, function: lambda_.Function, right: Right) -> None:
    """Let a function do in the usage table what its right takes."""
    partitions = {action: list(names) for action, names in _PARTITIONS[right].items()}
    partitions.setdefault("GetItem", []).append(_PAGES)
    partitions.setdefault("PutItem", []).extend([_PAGES, _TRAIL])
    for action, names in partitions.items():
        usage_table.grant_in(function, [action], *names)
    if right != "audit":
        usage_table.grant_indexes(function, "keys")
