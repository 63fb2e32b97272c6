"""The usage table."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthesis import FUNCTIONS, synthesise


def test_the_table_can_be_restored_to_any_second(synthesis: Any) -> None:
    """Point-in-time recovery is on in every stage, and capacity is paid by request."""
    table = synthesis.table("Usage")["Properties"]
    (replica,) = table["Replicas"]
    assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]


def test_the_indexes_are_sparse_and_hold_keys_only(synthesis: Any) -> None:
    """The indexes are sparse: only overdue items and accounts have their attributes."""
    indexes = synthesis.table("Usage")["Properties"]["GlobalSecondaryIndexes"]
    attributes = {
        it["IndexName"]: [key["AttributeName"] for key in it["KeySchema"]] for it in indexes
    }
    assert attributes == {"overdue": ["open", "due"], "keys": ["directory", "created"]}
    assert [it["Projection"] for it in indexes] == [{"ProjectionType": "KEYS_ONLY"}] * 2


@pytest.mark.parametrize(("stage", "kept"), [("local", False), ("dev", False), ("prod", True)])
def test_production_data_survives_its_stack(
    syntheses: dict[str, Any], stage: str, kept: bool
) -> None:
    """Production's table is not deleted with the stack, and cannot be deleted by hand."""
    table = syntheses[stage].table("Usage")
    assert (
        table["DeletionPolicy"] == table["UpdateReplacePolicy"] == ("Retain" if kept else "Delete")
    )
    assert table["Properties"]["Replicas"][0]["DeletionProtectionEnabled"] is kept


def test_another_table_leaves_the_exports(
    syntheses: dict[str, Any], project: Path, tmp_path: Path
) -> None:
    """With `usage_table`, functions and grants name that table, and the state stack stays.

    CloudFormation refuses to remove an export that the service stack still imports.
    """
    dev = syntheses["dev"]
    other = synthesise("dev", project, tmp_path, usage_table="restored")
    exports = {name: it for name, it in dev.state["Outputs"].items() if "Export" in it}
    assert exports
    assert exports.items() <= other.state["Outputs"].items()
    assert other.state["Resources"] == dev.state["Resources"]
    assert "UsageTable" not in json.dumps(
        [it["Properties"] for it in other.service["Resources"].values() if "Properties" in it]
    )
    for handler in FUNCTIONS.values():
        variables = other.function(handler).get("Environment", {}).get("Variables", {})
        assert variables.get("SLUICE_USAGE_TABLE", "restored") == "restored"
