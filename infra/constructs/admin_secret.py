"""The admin API's secret, and the function that rotates it every month."""

from pathlib import Path

from aws_cdk import RemovalPolicy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from infra.constructs.function import add_function
from infra.settings.deployment import Settings

LENGTH = 48
ROTATION_DAYS = 30
ROTATION_TIMEOUT = 60
"""Seconds. Each of the four steps makes one or two calls."""

_STEPS = (
    "secretsmanager:DescribeSecret",
    "secretsmanager:GetSecretValue",
    "secretsmanager:PutSecretValue",
    "secretsmanager:UpdateSecretVersionStage",
)


class AdminSecret(Construct):
    """A generated secret that Secrets Manager rotates with our function.

    The control function reads the current and the previous version when it needs them, and accepts
    both. Admins therefore have the time between two rotations to fetch the new secret. `aws
    secretsmanager rotate-secret` rotates it at once.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, root: Path, settings: Settings
    ) -> None:
        """Create the secret, the function that rotates it, and the schedule."""
        super().__init__(scope, construct_id)
        self.secret = secretsmanager.Secret(
            self,
            "Secret",
            description=f"Sluice {settings.name}-{settings.stage}: secret of the admin API",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                exclude_punctuation=True, password_length=LENGTH
            ),
            removal_policy=RemovalPolicy.DESTROY,
        )
        rotation = Construct(self, "Rotation")
        self.function = add_function(
            rotation,
            root=root,
            settings=settings,
            content="control",
            handler="lambda_fn.control.rotate.handler",
            description="Changes the admin secret",
            timeout=ROTATION_TIMEOUT,
            environment={},
        )
        iam.Grant.add_to_principal(
            grantee=self.function,
            actions=list(_STEPS),
            resource_arns=[self.secret.secret_full_arn or ""],
        )
        permission = lambda_.CfnPermission(
            rotation,
            "Permission",
            action="lambda:InvokeFunction",
            function_name=self.function.function_arn,
            principal="secretsmanager.amazonaws.com",
            source_arn=self.secret.secret_full_arn,
        )
        schedule = secretsmanager.CfnRotationSchedule(
            rotation,
            "Schedule",
            secret_id=self.secret.secret_arn,
            rotation_lambda_arn=self.function.function_arn,
            rotation_rules=secretsmanager.CfnRotationSchedule.RotationRulesProperty(
                automatically_after_days=ROTATION_DAYS
            ),
            rotate_immediately_on_update=False,
        )
        schedule.node.add_dependency(permission)

    def grant_read(self, grantee: iam.IGrantable) -> None:
        """Grant reading the secret in all its versions."""
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["secretsmanager:GetSecretValue"],
            resource_arns=[self.secret.secret_full_arn or ""],
        )
