"""The execution role: SageMaker runs the container with it."""

from aws_cdk import Aws, RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.function import RETENTION
from infra.constructs.trust import service_of_this_account
from infra.nag import accept
from infra.settings.deployment import Settings

_NETWORK = [
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
]
"""The actions that IAM can grant only on all resources."""
_INTERFACES = [
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
]


class EndpointRole(Construct):
    """The role, and the log group of the container's output.

    The log group is removed with the stack. The role may not create log groups: SageMaker would
    create one that nothing removes.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, log_group: str
    ) -> None:
        """Create the role and the log group."""
        super().__init__(scope, construct_id)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=service_of_this_account(self, "sagemaker"),
            description="Sluice model container",
        )
        group = logs.LogGroup(
            self,
            "Log",
            log_group_name=log_group,
            retention=RETENTION[settings.log_retention_days],
            removal_policy=RemovalPolicy.DESTROY,
        )
        group.grant(
            self.role, "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"
        )
        self._allow(
            "cloudwatch:PutMetricData",
            StringLike={"cloudwatch:namespace": ["AWS/SageMaker*", "/aws/sagemaker/*"]},
        )
        if settings.subnets:
            self._allow(*_NETWORK)
            self._allow_interfaces(settings)
        if settings.kms_key is not None:
            self._allow_key(settings.kms_key)
        accept(
            self.role,
            {
                "IAM5[Resource::*]": "ecr:GetAuthorizationToken, cloudwatch:PutMetricData and, in a VPC, "
                "SageMaker's "
                "lookups know no resources."
            },
        )

    def _allow_interfaces(self, settings: Settings) -> None:
        """Grant network interfaces in the named subnets and security groups only.

        A shared subnet belongs to another account.
        """
        places = [f"*:subnet/{subnet}" for subnet in settings.subnets]
        places += [f"*:security-group/{group}" for group in settings.security_groups]
        where = f"arn:{Aws.PARTITION}:ec2:{Aws.REGION}"
        interfaces = f"{Aws.ACCOUNT_ID}:network-interface/*"
        resources = [f"{where}:{it}" for it in (interfaces, *places)]
        self.role.add_to_policy(iam.PolicyStatement(actions=_INTERFACES, resources=resources))
        found = "IAM5[Resource::arn:<AWS::Partition>:ec2:<AWS::Region>"
        reasons = {
            f"{found}:{it}]": "A shared network belongs to another account." for it in places
        }
        reasons[f"{found}:<AWS::AccountId>:network-interface/*]"] = (
            "Interfaces have no name before they are made."
        )
        accept(self.role, reasons)

    def _allow_key(self, key: str) -> None:
        """Grant the use of the key, and grants of it through AWS's services only.

        SageMaker makes such grants for volumes.
        """
        use = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"]
        self.role.add_to_policy(iam.PolicyStatement(actions=use, resources=[key]))
        for_aws = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
        self.role.add_to_policy(
            iam.PolicyStatement(actions=["kms:CreateGrant"], resources=[key], conditions=for_aws)
        )

    def _allow(self, *actions: str, **conditions: object) -> None:
        self.role.add_to_policy(
            iam.PolicyStatement(
                actions=list(actions), resources=["*"], conditions=conditions or None
            )
        )
