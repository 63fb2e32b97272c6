"""The functions that callers invoke by IAM: one for each right."""

import json
import re
from typing import Any

import pytest

from tests.support.grants import (
    ADMINS,
    LOG,
    ROLLUPS,
    granted,
    partitions,
    tables,
)


@pytest.mark.parametrize(
    ("owner", "expected"),
    {
        "AdminKeys": {
            ("dynamodb:GetItem", partitions("KEY#*", "CONTROL")),
            ("dynamodb:PutItem", partitions("KEY#*", "CONTROL", "AUDIT#*")),
            ("dynamodb:UpdateItem", partitions("KEY#*", "LEDGER#*")),
            ("dynamodb:Query", "table, index keys"),
            ("dynamodb:PutItem", partitions("ERASE", table="streams")),
        },
        "AdminBudgets": {
            ("dynamodb:GetItem", partitions("KEY#*", "CONTROL")),
            ("dynamodb:PutItem", partitions("CONTROL", "AUDIT#*")),
            ("dynamodb:UpdateItem", partitions("KEY#*")),
            ("dynamodb:Query", "table, index keys"),
        },
        "AdminUsage": {
            ("dynamodb:GetItem", partitions("KEY#*", "LEDGER#*", *ROLLUPS, "CONTROL")),
            ("dynamodb:PutItem", partitions("CONTROL", "AUDIT#*")),
            ("dynamodb:Query", partitions("LEDGER#*", *ROLLUPS)),
            ("dynamodb:Query", "table, index keys"),
        },
        "AdminAudit": {
            ("dynamodb:GetItem", partitions("CONTROL")),
            ("dynamodb:PutItem", partitions("CONTROL", "AUDIT#*")),
            ("dynamodb:Query", partitions("AUDIT#*")),
        },
    }.items(),
)
def test_a_right_is_its_roles_too(
    synthesis: Any, owner: str, expected: set[tuple[str, str]]
) -> None:
    """The role of each single right allows no more in the table than the right does."""
    assert tables(synthesis, owner) == expected
    assert {it for it in granted(synthesis, owner) if "dynamodb" not in str(it)} == {LOG}


def test_nothing_on_the_internet_leads_to_the_functions_that_iam_leads_to(synthesis: Any) -> None:
    """The functions for callers by IAM have no URL and no permission for a service.

    A flood at the URL takes none of their concurrency.
    """
    functions = {
        key
        for key in synthesis.service["Resources"]
        if re.fullmatch(r"Admin\w+Function[0-9A-F]{8}", key)
    }
    assert len(functions) == len(ADMINS)
    for kind in ("AWS::Lambda::Url", "AWS::Lambda::Permission"):
        assert not functions & set(re.findall(r"\w+", json.dumps(synthesis.resources(kind))))
