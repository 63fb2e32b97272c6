"""The state stack: the tables, which outlive the service."""

from aws_cdk import CfnOutput, Environment, Stack
from constructs import Construct

from infra.constructs.stream_table import StreamTable
from infra.constructs.usage_table import UsageTable
from infra.settings.deployment import Settings


class StateStack(Stack):
    """The tables. Outputs: UsageTableName, and StreamTableName unless answers are never kept."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        env: Environment | None = None,
    ) -> None:
        """Compose the stack. `env` is its account and region, if they are known."""
        super().__init__(
            scope,
            construct_id,
            description="Sluice: accounts, ledger and kept answers",
            termination_protection=settings.retain,
            env=env,
        )
        self.usage_table = UsageTable(
            self, "Usage", retain=settings.retain, in_use=settings.usage_table
        )
        CfnOutput(self, "UsageTableName", value=self.usage_table.name)
        self.stream_table: StreamTable | None = None
        if settings.persistence != "off":
            self.stream_table = StreamTable(self, "Streams", settings=settings)
            CfnOutput(self, "StreamTableName", value=self.stream_table.name)
