"""The SageMaker endpoint: execution role, model, endpoint configuration, endpoint.

These are L1s: the L2s know neither routing nor time-outs. Nothing has a name of its own, so that CloudFormation can
replace the model and the configuration under a living endpoint.
"""

from collections.abc import Mapping
from pathlib import Path

from aws_cdk import ArnFormat, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from infra.constructs.container_image import ContainerImage
from infra.constructs.weights import Weights
from infra.nag import accept
from infra.settings import Settings

DOWNLOAD_SECONDS = 1200
"""For the weights; SageMaker takes 60 to 3600."""
_LOGS = "/aws/sagemaker/Endpoints/*"
_LOGS_FINDING = f"arn:<AWS::Partition>:logs:<AWS::Region>:<AWS::AccountId>:log-group:{_LOGS}"


class ModelEndpoint(Construct):
    """An endpoint that serves one container with one model."""

    def __init__(self, scope: Construct, construct_id: str, *, root: Path, settings: Settings) -> None:
        """Create it. Raises SettingsError when the weights or the Dockerfile are missing."""
        super().__init__(scope, construct_id)
        image = ContainerImage(self, "Image", root=root, image_uri=settings.image_uri)
        weights = Weights(self, "Weights", root=root, location=settings.weights)
        role = self._role()
        image.grant_pull(role)
        weights.grant_read(role)
        model = sagemaker.CfnModel(
            self,
            "Model",
            execution_role_arn=role.role_arn,
            enable_network_isolation=True,  # the container calls nobody
            primary_container=sagemaker.CfnModel.ContainerDefinitionProperty(
                image=image.uri,
                model_data_source=weights.data_source,
                environment=dict(_environment(settings)),
            ),
        )
        # SageMaker checks the role's permissions when the model is made.
        model.node.add_dependency(role)
        configuration = sagemaker.CfnEndpointConfig(
            self,
            "Configuration",
            production_variants=[
                sagemaker.CfnEndpointConfig.ProductionVariantProperty(
                    variant_name="primary",
                    model_name=model.attr_model_name,
                    instance_type=settings.instance_type,
                    initial_instance_count=settings.instance_count,
                    initial_variant_weight=1,
                    # Streams differ in length a hundredfold: by turns, one instance would queue while another idles.
                    routing_config=sagemaker.CfnEndpointConfig.RoutingConfigProperty(
                        routing_strategy="LEAST_OUTSTANDING_REQUESTS"
                    ),
                    container_startup_health_check_timeout_in_seconds=settings.startup_seconds,
                    model_data_download_timeout_in_seconds=DOWNLOAD_SECONDS,
                )
            ],
        )
        self._endpoint = sagemaker.CfnEndpoint(
            self, "Endpoint", endpoint_config_name=configuration.attr_endpoint_config_name
        )
        self.endpoint_name = self._endpoint.attr_endpoint_name

    def grant_stream(self, grantee: iam.IGrantable) -> None:
        """Let `grantee` invoke this endpoint with a streamed response, and nothing else."""
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["sagemaker:InvokeEndpointWithResponseStream"],
            resource_arns=[self._endpoint.ref],
        )

    def _role(self) -> iam.Role:
        role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("sagemaker.amazonaws.com"),
            description="Sluice model container",
        )
        logs = Stack.of(self).format_arn(
            service="logs", resource="log-group", resource_name=_LOGS, arn_format=ArnFormat.COLON_RESOURCE_NAME
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                resources=[logs],
            )
        )
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["cloudwatch:PutMetricData"],
                resources=["*"],
                conditions={"StringLike": {"cloudwatch:namespace": ["AWS/SageMaker*", "/aws/sagemaker/*"]}},
            )
        )
        accept(
            role,
            {
                "IAM5[Resource::*]": "ecr:GetAuthorizationToken and cloudwatch:PutMetricData know no resources.",
                f"IAM5[Resource::{_LOGS_FINDING}]": "The log group has the endpoint's name, which is not known yet.",
            },
        )
        return role


def _environment(settings: Settings) -> Mapping[str, str]:
    # SageMaker refuses values over 1,024 bytes; settings are far below.
    return {
        "SLUICE_ENGINE": settings.engine,
        "SLUICE_MODEL_NAME": settings.model_name,
        "SLUICE_CONTEXT_TOKENS": str(settings.context_tokens),
        "SLUICE_PARALLEL": str(settings.parallel),
        "SLUICE_TOKENS_PER_SECOND": f"{settings.tokens_per_second:g}",
    }
