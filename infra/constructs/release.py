"""How a new version of a public function comes into service: an alias, and a canary.

Callers reach the function by the URL of the alias `live`. A deployment publishes a version, which
never changes, and the alias moves to it. Lambda sends new requests where the alias points; streams
that began on the old version end there.

CodeDeploy moves the alias: at once, or with `canary_minutes` in two steps. Then a tenth of the
requests reach the new version, and after these minutes the rest. When an alarm rises meanwhile,
CodeDeploy moves the alias back, and the stack's update fails and is rolled back.
"""

from collections.abc import Mapping

from aws_cdk import CfnCodeDeployLambdaAliasUpdate, CfnUpdatePolicy, Duration, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_codedeploy as codedeploy
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.alarms import add_alarm, alarm_topics
from infra.constructs.trust import CODEDEPLOY
from infra.nag import accept
from infra.settings.deployment import Settings

ALIAS = "live"
"""The alias that callers reach."""
FAILURES = {"Errors": 2, "Url5xxCount": 5}
"""Lambda's metrics of failures, each with the number in 5 minutes that ends a canary.

`Errors` counts crashes, timeouts and broken responses of the new version alone, so two are enough.
`Url5xxCount` counts the responses of the alias, also those because of a failing model.
"""


class Release(Construct):
    """The alias of a function, and the deployment group that moves it."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        function: lambda_.Function,
        settings: Settings,
        what: str,
        failures: Mapping[str, int] = FAILURES,
    ) -> None:
        """Publish the function as it is, and point the alias to this version.

        `what` is what descriptions call the function. `failures` are the metrics that end a canary,
        with their thresholds: one without a URL has no `Url5xxCount`.
        """
        super().__init__(scope, construct_id)
        self._what, self._failures = what, failures
        version = function.current_version
        # A version that is deleted takes its running streams with it. Lambda deletes all versions
        # with their function.
        version.apply_removal_policy(RemovalPolicy.RETAIN)
        self.alias = lambda_.Alias(self, "Alias", alias_name=ALIAS, version=version)
        self._add_group(function, version, settings)

    def _add_group(
        self, function: lambda_.Function, version: lambda_.Version, settings: Settings
    ) -> None:
        resource = f"{function.function_name}:{ALIAS}"
        by_alias = {"FunctionName": function.function_name, "Resource": resource}
        alarms = [
            add_alarm(
                Construct(self, metric),
                "Resource",
                description=(
                    f"Sluice {settings.name}-{settings.stage}: the {self._what} has {metric}: "
                    "a deployment of it under way is rolled back."
                ),
                metric=cloudwatch.Metric(
                    namespace="AWS/Lambda",
                    metric_name=metric,
                    dimensions_map=by_alias
                    | ({"ExecutedVersion": version.version} if metric == "Errors" else {}),
                    statistic="Sum",
                    period=Duration.minutes(5),
                ),
                threshold=threshold,
                actions=alarm_topics(settings),
            )
            for metric, threshold in self._failures.items()
        ]
        role = iam.Role(
            self,
            "Role",
            description=f"Moves the alias of the {self._what}",
            assumed_by=iam.ServicePrincipal(CODEDEPLOY),
            managed_policies=[
                iam.ManagedPolicy.from_aws_managed_policy_name(
                    "service-role/AWSCodeDeployRoleForLambdaLimited"
                )
            ],
        )
        accept(
            role,
            {
                "IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/"
                "AWSCodeDeployRoleForLambdaLimited]": (
                    "AWS keeps the list of what CodeDeploy needs to move an alias."
                )
            },
        )
        application = codedeploy.CfnApplication(self, "Application", compute_platform="Lambda")
        kind = codedeploy.CfnDeploymentGroup
        minutes = settings.canary_minutes
        way = "AllAtOnce" if minutes is None else f"Canary10Percent{minutes}Minutes"
        group = kind(
            self,
            "Group",
            application_name=application.ref,
            service_role_arn=role.role_arn,
            deployment_config_name=f"CodeDeployDefault.Lambda{way}",
            deployment_style=kind.DeploymentStyleProperty(
                deployment_type="BLUE_GREEN", deployment_option="WITH_TRAFFIC_CONTROL"
            ),
            alarm_configuration=kind.AlarmConfigurationProperty(
                enabled=True, alarms=[kind.AlarmProperty(name=alarm.ref) for alarm in alarms]
            ),
            auto_rollback_configuration=kind.AutoRollbackConfigurationProperty(
                enabled=True, events=["DEPLOYMENT_FAILURE", "DEPLOYMENT_STOP_ON_ALARM"]
            ),
        )
        group.node.add_dependency(role)
        alias = self.alias.node.default_child
        assert isinstance(alias, lambda_.CfnAlias)  # noqa: S101 - CDK's alias has no other
        alias.cfn_options.update_policy = CfnUpdatePolicy(
            code_deploy_lambda_alias_update=CfnCodeDeployLambdaAliasUpdate(
                application_name=application.ref, deployment_group_name=group.ref
            )
        )
        # CloudFormation may not derive an order from an update policy.
        alias.add_resource_dependency(group)
