"""The usage table: accounts, the ledger and its rollups, and the two indexes by which they are found without a scan."""

from collections.abc import Sequence
from typing import Literal

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

Index = Literal["overdue", "keys"]
_STRING, _NUMBER = dynamodb.AttributeType.STRING, dynamodb.AttributeType.NUMBER
LEADING_KEYS = "dynamodb:LeadingKeys"


class UsageTable(Construct):
    """A DynamoDB table with string keys `pk` and `sk`, paid by request, restorable to any second of the last 35 days.

    Its indexes are sparse and hold keys only. `overdue` (`open`, `due`): what is open, by the Unix second from which on
    it is overdue, for the sweeper; an item leaves it by losing the two attributes. `keys` (`directory`, `created`):
    the accounts, for listing them.

    `retain`: it outlives its stack and refuses to be deleted. Encrypted at rest by a key that DynamoDB owns, which
    costs nothing a request; a key of one's own may add a KMS call to what holds back the first token.
    """

    def __init__(self, scope: Construct, construct_id: str, *, retain: bool) -> None:
        """Create the table."""
        super().__init__(scope, construct_id)
        self.table = dynamodb.TableV2(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="pk", type=_STRING),
            sort_key=dynamodb.Attribute(name="sk", type=_STRING),
            global_secondary_indexes=[_index("overdue", "open", "due"), _index("keys", "directory", "created")],
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.dynamo_owned_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="ttl",  # of the audit trail
            deletion_protection=retain,
            removal_policy=RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY,
        )

    def grant_in(self, grantee: iam.IGrantable, actions: Sequence[str], *partitions: str) -> None:
        """Let `grantee` do these in the partitions whose keys are like one of `partitions`, and in no other.

        The table's own `grant` would let it do them with the indexes, too.
        """
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=[f"dynamodb:{action}" for action in actions],
            resource_arns=[self.table.table_arn],
            # ForAllValues holds where there is no such key: that there is one is a condition of its own.
            conditions={"ForAllValues:StringLike": {LEADING_KEYS: list(partitions)}, "Null": {LEADING_KEYS: "false"}},
        )

    def grant_indexes(self, grantee: iam.IGrantable, *indexes: Index) -> None:
        """Let `grantee` query these indexes."""
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["dynamodb:Query"],
            resource_arns=[f"{self.table.table_arn}/index/{index}" for index in indexes],
        )


def _index(name: Index, partition: str, sort: str) -> dynamodb.GlobalSecondaryIndexPropsV2:
    return dynamodb.GlobalSecondaryIndexPropsV2(
        index_name=name,
        partition_key=dynamodb.Attribute(name=partition, type=_STRING),
        sort_key=dynamodb.Attribute(name=sort, type=_NUMBER),
        projection_type=dynamodb.ProjectionType.KEYS_ONLY,
    )
