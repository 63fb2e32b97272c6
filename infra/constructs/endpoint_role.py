"""The execution role: what SageMaker may do for the container."""

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from constructs import Construct

from infra.constructs.function import RETENTION
from infra.nag import accept
from infra.settings import Settings

_NETWORK = [
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
]


class EndpointRole(Construct):
    """The role, and the log group that the container's output goes to, which is removed with the endpoint.

    SageMaker would make the log group itself and leave it behind for ever, so it may not.
    """

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, log_group: str) -> None:
        """Create both."""
        super().__init__(scope, construct_id)
        self.role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"),
            description="Sluice model container",
        )
        group = logs.LogGroup(
            self,
            "Log",
            log_group_name=log_group,
            retention=RETENTION[settings.log_retention_days],
            removal_policy=RemovalPolicy.DESTROY,
        )
        group.grant(self.role, "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents")
        self._allow(
            "cloudwatch:PutMetricData", StringLike={"cloudwatch:namespace": ["AWS/SageMaker*", "/aws/sagemaker/*"]}
        )
        if settings.subnets:
            self._allow(*_NETWORK)
        if settings.kms_key is not None:
            actions = ["kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext"]
            self.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[settings.kms_key]))
        accept(
            self.role,
            {
                "IAM5[Resource::*]": "ecr:GetAuthorizationToken, cloudwatch:PutMetricData and, in a VPC, the network "
                "interfaces that SageMaker makes there know no resources."
            },
        )

    def _allow(self, *actions: str, **conditions: object) -> None:
        self.role.add_to_policy(
            iam.PolicyStatement(actions=list(actions), resources=["*"], conditions=conditions or None)
        )
