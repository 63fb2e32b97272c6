"""AWS::DynamoDB::GlobalTable, which CDK's TableV2 makes.

Only the replica in the stack's region exists.
"""

from typing import Any

from local.cloudformation.calls import call, call_quietly
from local.cloudformation.resource import DeployError, Properties, Resource
from local.kept import KeptError
from local.moto import kept


class GlobalTable(Resource):
    """A table. Ref is its name."""

    type = "AWS::DynamoDB::GlobalTable"
    name_property = "TableName"
    replaced_by = frozenset({"KeySchema"})

    def _call(self, operation: str, **parameters: Any) -> Any:
        return call("dynamodb", self.context.region, operation, TableName=self.name, **parameters)

    def _replica(self, properties: Properties) -> Properties:
        replicas: list[Properties] = properties.get("Replicas", [])
        return next((item for item in replicas if item.get("Region") == self.context.region), {})

    def create(self) -> None:
        """Create the table, load the kept items, and set its time to live and its recovery.

        DynamoDB has separate calls for these.
        """
        properties = self.properties
        self._call(
            "create_table",
            KeySchema=properties["KeySchema"],
            AttributeDefinitions=properties["AttributeDefinitions"],
            BillingMode=properties.get("BillingMode", "PAY_PER_REQUEST"),
            GlobalSecondaryIndexes=_indexes(properties) or None,
            LocalSecondaryIndexes=properties.get("LocalSecondaryIndexes"),
            StreamSpecification=_stream(properties),
            DeletionProtectionEnabled=bool(
                self._replica(properties).get("DeletionProtectionEnabled")
            ),
            Tags=self._replica(properties).get("Tags"),
        )
        try:
            kept.restore_table(self.context.region, self.name)
        except KeptError as error:
            raise DeployError(str(error)) from error
        self._time_to_live(properties)
        self._recovery(properties)

    def update(self, properties: Properties) -> None:
        """Change indexes, deletion protection, time to live and recovery."""
        old = {index["IndexName"]: index for index in _indexes(self.properties)}
        new = {index["IndexName"]: index for index in _indexes(properties)}
        if len(old.keys() ^ new.keys()) > 1:
            raise DeployError(
                "Cannot perform more than one GSI creation or deletion in a single update"
            )
        changes = [{"Delete": {"IndexName": name}} for name in old if name not in new]
        changes += [{"Create": index} for name, index in new.items() if name not in old]
        self._call(
            "update_table",
            AttributeDefinitions=properties["AttributeDefinitions"],
            GlobalSecondaryIndexUpdates=changes or None,
            DeletionProtectionEnabled=bool(
                self._replica(properties).get("DeletionProtectionEnabled")
            ),
        )
        if properties.get("TimeToLiveSpecification") != self.properties.get(
            "TimeToLiveSpecification"
        ):
            self._time_to_live(properties)
        self._recovery(properties)

    def _time_to_live(self, properties: Properties) -> None:
        if specification := properties.get("TimeToLiveSpecification"):
            self._call("update_time_to_live", TimeToLiveSpecification=specification)

    def _recovery(self, properties: Properties) -> None:
        if specification := self._replica(properties).get("PointInTimeRecoverySpecification"):
            enabled = {
                "PointInTimeRecoveryEnabled": bool(specification.get("PointInTimeRecoveryEnabled"))
            }
            self._call("update_continuous_backups", PointInTimeRecoverySpecification=enabled)

    def delete(self) -> None:
        """Delete the table with all its items."""
        call_quietly("dynamodb", self.context.region, "delete_table", TableName=self.name)

    def attribute(self, name: str) -> Any:
        """Return Arn, StreamArn or TableId."""
        member = {"Arn": "TableArn", "StreamArn": "LatestStreamArn", "TableId": "TableId"}.get(name)
        return self._call("describe_table")["Table"][member] if member else super().attribute(name)


def _stream(properties: Properties) -> Properties | None:
    specification = properties.get("StreamSpecification")
    return {"StreamEnabled": True, **specification} if specification else None


def _indexes(properties: Properties) -> list[Properties]:
    # CloudFormation has capacity and insights as members of the index, the API has separate calls.
    members = ("IndexName", "KeySchema", "Projection")
    return [
        {key: index[key] for key in members if key in index}
        for index in properties.get("GlobalSecondaryIndexes", [])
    ]


RESOURCES: list[type[Resource]] = [GlobalTable]
