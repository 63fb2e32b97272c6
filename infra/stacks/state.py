"""The state stack: what must outlive every other deployment."""

from aws_cdk import CfnOutput, Stack
from constructs import Construct

from infra.constructs.usage_table import UsageTable
from infra.settings import Settings


class StateStack(Stack):
    """The tables. Output: UsageTableName."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        """Compose the stack."""
        super().__init__(
            scope, construct_id, description="Sluice: accounts and ledger", termination_protection=settings.retain
        )
        self.usage_table = UsageTable(self, "Usage", retain=settings.retain)
        CfnOutput(self, "UsageTableName", value=self.usage_table.table.table_name)
