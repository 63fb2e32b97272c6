"""The stream table: answers that are kept, so that they can be read again and resumed."""

from collections.abc import Sequence

from aws_cdk import RemovalPolicy
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.usage_table import in_partitions
from infra.nag import accept
from infra.settings.deployment import Settings

INDEX = "owners"
PROJECTED = ("status", "model", "metadata", "form", "kept", "chat", "expires", "deleted")
"""What the index has of a response beside its keys: all that lists show.

`lambda_fn.stream_log.keys` has the same names.
"""
WATCHED = ("status", "deleted", "tailer", "tail_until")
"""What an environment reads of the responses that it logs, each second.

`lambda_fn.stream_log.keys` has the same names.
"""
_STRING, _NUMBER = dynamodb.AttributeType.STRING, dynamodb.AttributeType.NUMBER
_KEY_ACTIONS = (
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey",
    "kms:GenerateDataKeyWithoutPlaintext",
    "kms:ReEncryptFrom",
    "kms:ReEncryptTo",
)


class StreamTable(Construct):
    """A DynamoDB table with the string keys `pk` and `sk`, one partition for each response.

    It is paid by request. DynamoDB removes items after the Unix second in `expires`. There is no
    point-in-time recovery: what a client has deleted must be gone. The index `owners` (`owner`,
    `created`) is sparse: only the heads of responses have its attributes.

    `name` and `arn` are the table's. With `retain`, the table outlives its stack and cannot be
    deleted. It is encrypted with a key that DynamoDB owns, or with the one of the settings, which
    adds KMS calls.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        """Create the table."""
        super().__init__(scope, construct_id)
        self._key = settings.stream_kms_key
        self.table = dynamodb.TableV2(
            self,
            "Table",
            partition_key=dynamodb.Attribute(name="pk", type=_STRING),
            sort_key=dynamodb.Attribute(name="sk", type=_STRING),
            global_secondary_indexes=[
                dynamodb.GlobalSecondaryIndexPropsV2(
                    index_name=INDEX,
                    partition_key=dynamodb.Attribute(name="owner", type=_STRING),
                    sort_key=dynamodb.Attribute(name="created", type=_NUMBER),
                    projection_type=dynamodb.ProjectionType.INCLUDE,
                    non_key_attributes=list(PROJECTED),
                )
            ],
            billing=dynamodb.Billing.on_demand(),
            encryption=dynamodb.TableEncryptionV2.dynamo_owned_key(),
            time_to_live_attribute="expires",
            deletion_protection=settings.retain,
            removal_policy=RemovalPolicy.RETAIN if settings.retain else RemovalPolicy.DESTROY,
        )
        if self._key is not None:
            # CDK itself takes a key only in a stack that knows its region.
            resource = self.table.node.default_child
            assert isinstance(resource, dynamodb.CfnGlobalTable)  # noqa: S101 - it has no other
            by_key = {"SSEEnabled": True, "SSEType": "KMS"}
            resource.add_property_override("SSESpecification", by_key)
            own = "Replicas.0.SSESpecification.KMSMasterKeyId"
            resource.add_property_override(own, self._key)
        accept(self.table, {"DDB3": "What a client has deleted must not be restorable."})
        self.name, self.arn = self.table.table_name, self.table.table_arn

    def grant_in(
        self,
        grantee: iam.IGrantable,
        actions: Sequence[str],
        *partitions: str,
        attributes: Sequence[str] = (),
    ) -> None:
        """Grant actions in the partitions whose keys match a pattern of `partitions`.

        With `attributes`, the calls may name no others.
        """
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=[f"dynamodb:{action}" for action in actions],
            resource_arns=[self.arn],
            conditions=in_partitions(actions, *partitions, attributes=attributes),
        )

    def grant_watch(self, grantee: iam.IGrantable) -> None:
        """Grant reading the states of many responses in one call."""
        self.grant_in(grantee, ["BatchGetItem"], "R#*", attributes=WATCHED)

    def grant_index(self, grantee: iam.IGrantable) -> None:
        """Grant querying the index of a key's responses."""
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["dynamodb:Query"],
            resource_arns=[f"{self.arn}/index/{INDEX}"],
        )

    def grant_key(self, grantee: iam.IGrantable) -> None:
        """Grant using the key of the settings, if there is one, through DynamoDB only."""
        if self._key is not None:
            iam.Grant.add_to_principal(
                grantee=grantee,
                actions=list(_KEY_ACTIONS),
                resource_arns=[self._key],
                conditions={"StringLike": {"kms:ViaService": "dynamodb.*.amazonaws.com"}},
            )


def stream_environment(settings: Settings, stream_table: StreamTable | None) -> dict[str, str]:
    """Return the variables of a public function about kept answers."""
    if stream_table is None:
        return {"SLUICE_PERSISTENCE": settings.persistence}
    return {
        "SLUICE_STREAM_TABLE": stream_table.name,
        "SLUICE_PERSISTENCE": settings.persistence,
        "SLUICE_LOG_HOURS": str(settings.log_hours),
        "SLUICE_RESPONSE_DAYS": str(settings.response_days),
        "SLUICE_ON_LOG_FAILURE": settings.on_log_failure or "",
        "SLUICE_STORE_DEFAULT": str(settings.store_default).lower(),
    }
