"""The rights of all roles, the secrets, and the ways in from the internet."""

import json
import re
from collections import Counter
from typing import Any

import pytest

from lambda_fn.stream_log.keys import WATCHED
from tests.support.grants import (
    BOOKS,
    DELETE,
    GET,
    LOG,
    ONLY_ROLLUPS,
    OWNERS,
    ROLES,
    ROLLUPS,
    WRITES,
    actions,
    granted,
    leading,
    partitions,
    statements,
    tables,
)

ACTIONS_WITHOUT_RESOURCES = {
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}

KEPT = ("R#*", "V#*")
"""The partitions of kept responses and conversations."""

IMAGE_CHECK = "ModelImageCheckFunction"
"""What checks the image. The local cloud takes no image from a registry, so it has no such role."""


def test_the_stream_function_puts_no_keys(synthesis: Any) -> None:
    """The stream function cannot create keys.

    It changes accounts and ledger, puts ledger items and marks, queries only rollups, and invokes
    its endpoint. It can neither read the secret of page tokens nor write rollups. It writes the
    responses that it makes, reads those that repeats get, whose number a key's slots bound, lists
    those of a key, and deletes none.
    A read of many responses names their states only.
    """
    endpoint = synthesis.the("AWS::SageMaker::Endpoint")["EndpointName"]
    assert tables(synthesis, "Stream") == {
        (GET, partitions("KEY#*", "LEDGER#*")),
        ("dynamodb:UpdateItem", partitions("KEY#*", "LEDGER#*")),
        (GET, partitions("SERVICE")),
        ("dynamodb:PutItem", partitions("LEDGER#*", "USAGE", "ALERTS")),
        ("dynamodb:Query", ONLY_ROLLUPS),
        *((action, partitions(*KEPT, table="streams")) for action in (*WRITES, GET)),
        (GET, partitions("I#*", table="streams")),
        ("dynamodb:PutItem", partitions("I#*", table="streams")),
        (
            "dynamodb:BatchGetItem",
            partitions("R#*", table="streams", attributes=WATCHED, writes=False),
        ),
        ("dynamodb:PutItem", partitions("Q#", table="streams")),
        ("dynamodb:UpdateItem", partitions("Q#", table="streams")),
        *(
            (f"dynamodb:{action}", partitions("L#*", table="streams"))
            for action in ("PutItem", "Query", "UpdateItem")
        ),
        ("dynamodb:Query", "streams, index owners"),
    }
    others = {
        it: resource
        for it, resource in granted(synthesis, "Stream").items()
        if "dynamodb" not in str(it)
    }
    assert others == {
        (
            "sagemaker:InvokeEndpoint",
            "sagemaker:InvokeEndpointWithResponseStream",
        ): f"endpoint/{endpoint}",
        LOG: "StreamLog",
        ("xray:PutTelemetryRecords", "xray:PutTraceSegments"): "*",
    }


def test_the_recall_function_can_change_no_books(synthesis: Any) -> None:
    """Of accounts it changes the balances only, and of ledger items the flag of a cancel.

    IAM knows the attributes that a call names, and rejects one that returns whole items. It puts
    neither accounts nor ledger items, and reads and deletes responses.
    """
    endpoint = synthesis.the("AWS::SageMaker::Endpoint")["EndpointName"]
    assert tables(synthesis, "Recall") == {
        ("dynamodb:GetItem", partitions("KEY#*", "LEDGER#*")),
        ("dynamodb:UpdateItem", partitions("KEY#*", attributes=["balance"])),
        ("dynamodb:UpdateItem", partitions("LEDGER#*", attributes=["cancel", "key", "state"])),
        *((action, partitions(*KEPT, table="streams")) for action in (*WRITES, GET, DELETE)),
        ("dynamodb:UpdateItem", partitions("Q#", table="streams")),
        *((action, partitions("L#*", table="streams")) for action in WRITES),
        ("dynamodb:Query", "streams, index owners"),
    }
    others = {
        it: resource
        for it, resource in granted(synthesis, "Recall").items()
        if "dynamodb" not in str(it)
    }
    assert others == {
        (
            "sagemaker:InvokeEndpoint",
            "sagemaker:InvokeEndpointWithResponseStream",
        ): f"endpoint/{endpoint}",
        LOG: "RecallLog",
        ("xray:PutTelemetryRecords", "xray:PutTraceSegments"): "*",
    }


def test_the_sweeper_finds_what_is_overdue_and_settles_it(synthesis: Any) -> None:
    """The sweeper reads items and both indexes, and changes accounts and ledger.

    It puts no account, and deletes only rollups.
    """
    assert tables(synthesis, "Sweeper") == {
        (GET, partitions(*BOOKS)),
        ("dynamodb:Query", partitions(*BOOKS)),
        ("dynamodb:UpdateItem", partitions("KEY#*", "LEDGER#*", "USAGE")),
        ("dynamodb:PutItem", partitions("LEDGER#*", "USAGE", "USAGE#*")),
        ("dynamodb:DeleteItem", ONLY_ROLLUPS),
        *(
            (action, partitions("SERVICE", "ALERTS"))
            for action in (GET, "dynamodb:PutItem", "dynamodb:UpdateItem")
        ),
        ("dynamodb:Query", "table, index overdue keys"),
        *((action, partitions(*KEPT, table="streams")) for action in (*WRITES, GET, DELETE)),
        *((action, partitions("ERASE", table="streams")) for action in (DELETE, "dynamodb:Query")),
        ("dynamodb:Query", "streams, index owners"),
    }
    others = {
        it: resource
        for it, resource in granted(synthesis, "Sweeper").items()
        if "dynamodb" not in str(it)
    }
    assert others == {LOG: "SweeperLog"}


def test_the_keeper_invokes_the_stream_function_and_no_model(synthesis: Any) -> None:
    """It reads and ends responses, gives places back, and may invoke one alias."""
    found = granted(synthesis, "Background")
    [alias] = [found.pop(it) for it in list(found) if it == ("lambda:InvokeFunction",)]
    assert "StreamReleaseAlias" in alias
    assert found == {
        ("dynamodb:Query", "dynamodb:UpdateItem"): partitions("Q#", table="streams"),
        (GET, *WRITES): partitions("R#*", table="streams"),
        LOG: "BackgroundLog",
    }


def test_the_control_function_invokes_no_model(synthesis: Any) -> None:
    """The control function reads and writes items, and lists keys and open requests by indexes.

    It reads its secret and cannot change it. It cannot invoke a model.
    """
    assert tables(synthesis, "AdminAll") == tables(synthesis, "Control")
    assert tables(synthesis, "Control") == {
        ("dynamodb:GetItem", partitions(*BOOKS, "SERVICE", "CONTROL")),
        ("dynamodb:PutItem", partitions(*BOOKS, "CONTROL", "AUDIT#*")),
        ("dynamodb:UpdateItem", partitions("KEY#*", "LEDGER#*", "USAGE", "SERVICE")),
        ("dynamodb:DeleteItem", ONLY_ROLLUPS),
        ("dynamodb:Query", partitions(*BOOKS, "AUDIT#*")),
        ("dynamodb:Query", "table, index keys"),
        ("dynamodb:Query", "table, index overdue"),
        # Of kept responses it sees the index, which has no content, and hides one.
        ("dynamodb:Query", "streams, index owners"),
        (
            "dynamodb:UpdateItem",
            partitions(*KEPT, table="streams", attributes=["deleted", "owner", "status"]),
        ),
        # It asks the sweeper to erase what a deleted key has stored.
        ("dynamodb:PutItem", partitions("ERASE", table="streams")),
    }
    others = {
        it: resource
        for it, resource in granted(synthesis, "Control").items()
        if "dynamodb" not in str(it)
    }
    assert others == {("secretsmanager:GetSecretValue",): "ControlSecret", LOG: "ControlLog"}


def test_no_role_changes_the_audit_trail(synthesis: Any) -> None:
    """No role updates or deletes items of the audit trail. New items are put."""
    for owner in OWNERS:
        for action, where in tables(synthesis, owner):
            assert "AUDIT#*" not in where or action in {"dynamodb:PutItem", "dynamodb:Query"}


def test_no_role_removes_items_or_scans(synthesis: Any) -> None:
    """No role deletes items, except rollups, which can be made again, and kept responses.

    No role scans a table.
    """
    granted_to_functions = [
        it
        for owner in OWNERS
        for it in statements(synthesis, owner)
        if it.get("Condition") not in (leading(*ROLLUPS), leading(*KEPT), leading("ERASE"))
    ]
    granted_actions = {action for it in granted_to_functions for action in actions(it)}
    assert not {action for action in granted_actions if re.search("Delete|BatchWrite|Scan", action)}


@pytest.mark.parametrize("owner", ROLES)
def test_only_actions_that_know_no_resource_are_granted_on_all(synthesis: Any, owner: str) -> None:
    """No action has a wildcard. The resource `*` is used only where IAM offers no other."""
    for statement in statements(synthesis, owner):
        assert statement["Effect"] == "Allow"
        assert not [action for action in actions(statement) if "*" in action]
        if statement["Resource"] == "*":
            assert actions(statement) <= ACTIONS_WITHOUT_RESOURCES


def test_every_role_is_one_of_these(synthesis: Any) -> None:
    """These tests cover every role. CodeDeploy's has a policy that AWS keeps.

    tests/infra/constructs/test_playground.py covers the role that copies the playground.
    """
    local = not synthesis.resources("Custom::SluiceImageCheck")
    managed = [
        it
        for it in synthesis.resources("AWS::IAM::Role")
        if "ManagedPolicyArns" in it["Properties"]
    ]
    assert {it["Properties"]["Description"] for it in managed} == {
        "Moves the alias of the stream function",
        "Moves the alias of the recall function",
    }
    others = len(synthesis.resources("AWS::IAM::Role")) - len(managed)
    playground = bool(synthesis.resources("Custom::SluicePlayground"))
    assert others == len(ROLES) + (not local) + playground


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_what_checks_the_image_reads_its_manifest_only(syntheses: Any, stage: str) -> None:
    """It may read the manifests of the image's repository, and log."""
    found = [actions(it) for it in statements(syntheses[stage], IMAGE_CHECK)]
    assert found == [set(LOG), {"ecr:BatchGetImage"}]
    [manifest] = [
        it["Resource"]
        for it in statements(syntheses[stage], IMAGE_CHECK)
        if actions(it) == {"ecr:BatchGetImage"}
    ]
    assert ":repository/" in json.dumps(manifest)


def test_the_function_urls_take_any_caller(synthesis: Any) -> None:
    """The function URLs need no signature, and have both permissions for that.

    The URLs of the public API stream, the control function's does not.
    """
    urls = [it["Properties"] for it in synthesis.resources("AWS::Lambda::Url")]
    assert sorted((url["AuthType"], url["InvokeMode"]) for url in urls) == [
        ("NONE", "BUFFERED"),
        ("NONE", "RESPONSE_STREAM"),
        ("NONE", "RESPONSE_STREAM"),
    ]
    permissions = [it["Properties"] for it in synthesis.resources("AWS::Lambda::Permission")]
    assert Counter(it["Action"] for it in permissions if it["Principal"] == "*") == {
        "lambda:InvokeFunction": 3,
        "lambda:InvokeFunctionUrl": 3,
    }
    # every caller may invoke by URL only
    for permission in permissions:
        if permission["Principal"] == "*":
            assert (
                permission.get("InvokedViaFunctionUrl") is True
                or permission["FunctionUrlAuthType"] == "NONE"
            )
