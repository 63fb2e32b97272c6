"""The admin functions that IAM lets callers invoke.

There is one function for each right, and its role has this right only.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.function import add_function
from infra.constructs.stream_table import StreamTable
from infra.constructs.usage_table import UsageTable
from infra.limits import LIMITS
from infra.settings.deployment import Settings

Right = Literal["all", "keys", "budgets", "usage", "audit"]

_KEYS, _LEDGER, _ROLLUPS = "KEY#*", "LEDGER#*", ("USAGE", "USAGE#*")
_TRAIL, _PAGES, _SERVICE = "AUDIT#*", "CONTROL", "SERVICE"
_PARTITIONS: Mapping[Right, Mapping[str, Sequence[str]]] = {
    "all": {
        "GetItem": (_KEYS, _LEDGER, *_ROLLUPS, _SERVICE),
        "Query": (_KEYS, _LEDGER, *_ROLLUPS, _TRAIL),
        "PutItem": (_KEYS, _LEDGER, *_ROLLUPS),
        "UpdateItem": (_KEYS, _LEDGER, "USAGE", _SERVICE),
        "DeleteItem": _ROLLUPS,
    },
    "keys": {"GetItem": (_KEYS,), "PutItem": (_KEYS,), "UpdateItem": (_KEYS, _LEDGER)},
    "budgets": {"GetItem": (_KEYS,), "UpdateItem": (_KEYS,)},
    "usage": {"GetItem": (_KEYS, _LEDGER, *_ROLLUPS), "Query": (_LEDGER, *_ROLLUPS)},
    "audit": {"Query": (_TRAIL,)},
}
"""The partitions that each right needs, by action.

All rights also need the secret of page tokens, and put entries into the audit trail. No role may
change or remove those entries.
"""


class AdminFunctions(Construct):
    """The functions, built from the control function's package.

    They have no URL. A flood of requests through the distribution throttles the control function
    only.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        root: Path,
        settings: Settings,
        usage_table: UsageTable,
        stream_table: StreamTable | None,
    ) -> None:
        """Package and create the functions, and grant each its right."""
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
                environment={
                    **admin_environment(
                        settings,
                        usage_table,
                        stream_table if right in ("all", "keys") else None,
                    ),
                    "SLUICE_ADMIN_RIGHT": right,
                },
            )
            grant_right(usage_table, stream_table, self.functions[right], right)


def admin_environment(
    settings: Settings, usage_table: UsageTable, stream_table: StreamTable | None
) -> dict[str, str]:
    """Return the environment variables of every function of the admin API.

    `stream_table` is None for functions that see nothing of what is kept.
    """
    return {
        **({} if stream_table is None else {"SLUICE_STREAM_TABLE": stream_table.name}),
        "SLUICE_USAGE_TABLE": usage_table.name,
        "SLUICE_MODEL_NAMES": json.dumps([settings.model_name, *settings.others]),
        "SLUICE_UNPRICED_MODELS": json.dumps(settings.unpriced_models),
        "SLUICE_DEFAULT_MAX_STREAMS": str(settings.new_key_streams),
        "SLUICE_AUDIT_DAYS": str(settings.audit_days),
    }


def grant_right(
    usage_table: UsageTable,
    stream_table: StreamTable | None,
    function: lambda_.Function,
    right: Right,
) -> None:
    """Grant a function the actions on both tables that its right needs.

    None of them returns the content of a response: it is not in the index.
    """
    if right == "all" and stream_table is not None:
        stream_table.grant_index(function)
        hiding = ["deleted", "owner", "status"]
        stream_table.grant_in(function, ["UpdateItem"], "R#*", "V#*", attributes=hiding)
    if right in ("all", "keys") and stream_table is not None:
        # A deleted key's answers are deleted by the sweeper, which finds the key there.
        stream_table.grant_in(function, ["PutItem"], "ERASE")
        stream_table.grant_key(function)
    partitions = {action: list(names) for action, names in _PARTITIONS[right].items()}
    partitions.setdefault("GetItem", []).append(_PAGES)
    partitions.setdefault("PutItem", []).extend([_PAGES, _TRAIL])
    for action, names in partitions.items():
        usage_table.grant_in(function, [action], *names)
    if right != "audit":
        usage_table.grant_indexes(function, "keys")
    if right == "all":  # which cancels what runs
        usage_table.grant_indexes(function, "overdue")
