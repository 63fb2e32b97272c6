"""The usage table: accounts, the ledger and its rollups."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct


class UsageTable(Construct):
    """A DynamoDB table with string keys `pk` and `sk`, paid by request, restorable to any second of the last 35 days.

    `retain`: it outlives its stack and refuses to be deleted. Encrypted at rest by a key that DynamoDB owns, which
    costs nothing a request; a key of one's own may add a KMS call to what holds back the first token.
    """

    def __init__(self, scope: Construct, construct_id: str, *, retain: bool) -> None:
        """Create the table."""
        super().__init__(scope, construct_id)
        self.table = dynamodb.TableV2(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="pk", type=dynamodb.AttributeType.STRING),
            sort_key=dynamodb.Attribute(name="sk", type=dynamodb.AttributeType.STRING),
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.dynamo_owned_key(),
            point_in_time_recovery_specification=dynamodb.PointInTimeRecoverySpecification(
                point_in_time_recovery_enabled=True
            ),
            time_to_live_attribute="ttl",  # of requests with keys that nobody has; what is paid for has none
            deletion_protection=retain,
            removal_policy=RemovalPolicy.RETAIN if retain else RemovalPolicy.DESTROY,
        )
