"""The service stack: endpoint, stream function, distribution."""

from pathlib import Path

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_dynamodb as dynamodb
from constructs import Construct

from infra.constructs.edge import Edge
from infra.constructs.model_endpoint import ModelEndpoint
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.stream_function import StreamFunction
from infra.settings import Settings


class ServiceStack(Stack):
    """What serves requests. Outputs: DistributionDomain, FunctionUrl, EndpointName, ModelName."""

    def __init__(
        self, scope: Construct, construct_id: str, *, root: Path, settings: Settings, usage_table: dynamodb.TableV2
    ) -> None:
        """Compose the stack and grant."""
        super().__init__(scope, construct_id, description="Sluice: endpoint, stream function, distribution")
        endpoint = ModelEndpoint(self, "Model", root=root, settings=settings)
        secret = OriginSecret(self, "OriginSecret")
        stream = StreamFunction(
            self,
            "Stream",
            root=root,
            settings=settings,
            usage_table=usage_table,
            endpoint=endpoint,
            secret=secret,
        )
        edge = Edge(self, "Edge", url=stream.url, secret=secret, price_class=settings.price_class)

        # The ledger is only ever written by the function: it reads nothing back and removes nothing.
        usage_table.grant(stream.function, "dynamodb:PutItem", "dynamodb:UpdateItem")
        endpoint.grant_stream(stream.function)

        CfnOutput(self, "DistributionDomain", value=edge.distribution.distribution_domain_name)
        CfnOutput(self, "FunctionUrl", value=stream.url.url)
        CfnOutput(self, "EndpointName", value=endpoint.endpoint_name)
        CfnOutput(self, "ModelName", value=settings.model_name)
