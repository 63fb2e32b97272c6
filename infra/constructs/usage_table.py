"""The usage table: accounts, the ledger and its rollups, and two indexes in place of scans."""

from collections.abc import Sequence
from typing import Any, Literal

from aws_cdk import RemovalPolicy, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

Index = Literal["overdue", "keys"]
_STRING, _NUMBER = dynamodb.AttributeType.STRING, dynamodb.AttributeType.NUMBER
LEADING_KEYS = "dynamodb:LeadingKeys"
ATTRIBUTES = "dynamodb:Attributes"
_RETURNING = {"DeleteItem", "PutItem", "UpdateItem"}  # the actions with a key for return values


class UsageTable(Construct):
    """A DynamoDB table with the string keys `pk` and `sk`.

    It is paid by request, and can be restored to any second of the last 35 days. Its indexes are
    sparse and contain keys only. `overdue` (`open`, `due`) has the open ledger items, sorted by the
    Unix second after which they are overdue. An item leaves it when it loses these attributes.
    `keys` (`directory`, `created`) lists the accounts.

    `name` and `arn` are those of the table that the functions use.

    With `retain`, the table outlives its stack and cannot be deleted. It is encrypted with a key
    that DynamoDB owns, which adds no cost to a request. A customer's key could add a KMS call
    before the first token.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, retain: bool, in_use: str | None = None
    ) -> None:
        """Create the table. With `in_use`, the functions use the table of that name instead."""
        super().__init__(scope, construct_id)
        self.table = dynamodb.TableV2(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="pk", type=_STRING),
            sort_key=dynamodb.Attribute(name="sk", type=_STRING),
            global_secondary_indexes=[
                _index("overdue", "open", "due"),
                _index("keys", "directory", "created"),
            ],
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.dynamo_owned_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="ttl",  # for the audit trail's entries
            deletion_protection=retain,
            removal_policy=RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY,
        )
        self.name, self.arn = self.table.table_name, self.table.table_arn
        if in_use is not None:
            stack = Stack.of(self)
            # The service stack imported these until now. An export in use cannot be removed, and
            # this stack is deployed first.
            stack.export_value(self.name)
            stack.export_value(self.arn)
            self.name = in_use
            self.arn = stack.format_arn(service="dynamodb", resource="table", resource_name=in_use)

    def grant_in(
        self,
        grantee: iam.IGrantable,
        actions: Sequence[str],
        *partitions: str,
        attributes: Sequence[str] = (),
    ) -> None:
        """Grant actions in some partitions only: those whose keys match a pattern of `partitions`.

        With `attributes`, the calls may name no others. The table's own `grant` would also grant
        the actions on the indexes.
        """
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=[f"dynamodb:{action}" for action in actions],
            resource_arns=[self.arn],
            conditions=in_partitions(actions, *partitions, attributes=attributes),
        )

    def grant_indexes(self, grantee: iam.IGrantable, *indexes: Index) -> None:
        """Grant querying these indexes."""
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["dynamodb:Query"],
            resource_arns=[f"{self.arn}/index/{index}" for index in indexes],
        )


def in_partitions(
    actions: Sequence[str], *partitions: str, attributes: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the conditions of a grant in partitions whose keys match one of these patterns.

    With `attributes`, a call may name only these and the two keys, and return no others. `actions`
    are DynamoDB's, without its prefix.
    """
    # ForAllValues is also true without any such key, so a second condition requires one.
    conditions: dict[str, Any] = {
        "ForAllValues:StringLike": {LEADING_KEYS: list(partitions)},
        "Null": {LEADING_KEYS: "false"},
    }
    if attributes:
        named = ["pk", "sk", *attributes]
        conditions["ForAllValues:StringEquals"] = {ATTRIBUTES: named}
        conditions["Null"] = {LEADING_KEYS: "false", ATTRIBUTES: "false"}
        if not _RETURNING.isdisjoint(actions):
            conditions["StringEqualsIfExists"] = {"dynamodb:ReturnValues": "NONE"}
    return conditions


def _index(name: Index, partition: str, sort: str) -> dynamodb.GlobalSecondaryIndexPropsV2:
    return dynamodb.GlobalSecondaryIndexPropsV2(
        index_name=name,
        partition_key=dynamodb.Attribute(name=partition, type=_STRING),
        sort_key=dynamodb.Attribute(name=sort, type=_NUMBER),
        projection_type=dynamodb.ProjectionType.KEYS_ONLY,
    )
