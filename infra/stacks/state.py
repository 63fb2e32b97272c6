"""The state stack: what must outlive every other deployment."""

from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from infra.constructs.usage_table import UsageTable
from infra.settings.deployment import Settings


class StateStack(Stack):
    """The tables. Output: UsageTableName."""

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, home: Environment | None = None
    ) -> None:
        """Compose the stack, for an account and region if `home` says which."""
        super().__init__(
            scope,
            construct_id,
            description="Sluice: accounts and ledger",
            termination_protection=settings.retain,
            env=home,
        )
        self.usage_table = UsageTable(self, "Usage", retain=settings.retain)
        CfnOutput(self, "UsageTableName", value=self.usage_table.table.table_name)
