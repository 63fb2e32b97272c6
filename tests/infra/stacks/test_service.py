"""The outputs of the stacks."""

from typing import Any


def test_outputs_have_their_agreed_names(synthesis: Any) -> None:
    """Outputs have the names by which programs find a deployment's parts."""
    assert set(synthesis.service["Outputs"]) == {
        "AdminAuditFunctionName",
        "AdminBudgetsFunctionName",
        "AdminFunctionName",
        "AdminFunctionUrl",
        "AdminKeysFunctionName",
        "AdminUsageFunctionName",
        "BackgroundFunctionName",
        "SweeperName",
        "AdminSecretArn",
        "DistributionDomain",
        "EndpointName",
        "FunctionName",
        "FunctionUrl",
        "ModelName",
        "RecallFunctionName",
        "RecallFunctionUrl",
    }
    assert [name for name in synthesis.state["Outputs"] if not name.startswith("Exports")] == [
        "UsageTableName",
        "StreamTableName",
    ]
