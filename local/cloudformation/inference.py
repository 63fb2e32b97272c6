"""AWS::SageMaker::Model, EndpointConfig and Endpoint.

Creating an endpoint starts its containers and waits until `/ping` answers. A failure fails the
stack with the reason.
"""

from typing import Any

from moto.sagemaker.models import sagemaker_backends

from local.cloudformation.calls import call, call_quietly
from local.cloudformation.resource import DeployError, Properties, Resource
from local.moto.exchange import EXCHANGE

# The data plane gives up after the variant's start-up timeout, which is at most an hour. This bound
# is for a data plane that has died.
_READY_TIMEOUT_S = 3900.0


class _Named(Resource):
    """A resource whose Ref is its ARN and whose name is an attribute."""

    operations: tuple[str, str]
    arn_member: str

    def create(self) -> None:
        """Create the resource with an API call."""
        response = call(
            "sagemaker",
            self.context.region,
            self.operations[0],
            **{**self.properties, self.name_property: self.name},
        )
        self.physical_id = response[self.arn_member]

    def delete(self) -> None:
        """Delete the resource with an API call."""
        call_quietly(
            "sagemaker", self.context.region, self.operations[1], **{self.name_property: self.name}
        )

    def attribute(self, name: str) -> Any:
        """Return the name."""
        return self.name if name == self.name_property else super().attribute(name)


class Model(_Named):
    """A container image, its environment and its weights."""

    type = "AWS::SageMaker::Model"
    name_property = "ModelName"
    replaced_by = frozenset(
        {
            "PrimaryContainer",
            "Containers",
            "ExecutionRoleArn",
            "VpcConfig",
            "EnableNetworkIsolation",
        }
    )
    operations = ("create_model", "delete_model")
    arn_member = "ModelArn"


class EndpointConfig(_Named):
    """Variants: which model runs on how many instances."""

    type = "AWS::SageMaker::EndpointConfig"
    name_property = "EndpointConfigName"
    replaced_by = frozenset(
        {
            "ProductionVariants",
            "KmsKeyId",
            "DataCaptureConfig",
            "AsyncInferenceConfig",
            "ExecutionRoleArn",
        }
    )
    operations = ("create_endpoint_config", "delete_endpoint_config")
    arn_member = "EndpointConfigArn"

    def create(self) -> None:
        """Create the configuration.

        moto forgets the role of inference components, so it is stored here.
        """
        role = self.properties.get("ExecutionRoleArn")
        if role is None and any(
            "ModelName" not in item for item in self.properties["ProductionVariants"]
        ):
            raise DeployError(
                "ExecutionRoleArn is required when a production variant has no ModelName."
            )
        super().create()
        backend = sagemaker_backends[self.context.account][self.context.region]
        backend.endpoint_configs[self.name].execution_role_arn = role


class Endpoint(_Named):
    """A running endpoint."""

    type = "AWS::SageMaker::Endpoint"
    name_property = "EndpointName"
    operations = ("create_endpoint", "delete_endpoint")
    arn_member = "EndpointArn"

    def create(self) -> None:
        """Start the containers and wait until they are in service."""
        super().create()
        # AWS writes the name in an endpoint's ARN in lower case, and policies are compared with
        # that ARN.
        self.physical_id = self.physical_id.lower()
        try:
            self._await(self.properties["EndpointConfigName"])
        except DeployError:
            self.delete()
            raise

    def update(self, properties: Properties) -> None:
        """Start the new configuration beside the old one, then switch to it."""
        config = properties["EndpointConfigName"]
        if config == self.properties["EndpointConfigName"]:
            return
        backend = sagemaker_backends[self.context.account][self.context.region]
        if config not in backend.endpoint_configs:
            raise DeployError(f'Could not find endpoint configuration "{config}".')
        # moto has no UpdateEndpoint.
        endpoint = backend.endpoints[self.name]
        endpoint.endpoint_config_name = config
        endpoint.endpoint_status = "Updating"
        self._await(config)

    def delete(self) -> None:
        """Stop the containers."""
        super().delete()
        EXCHANGE.changed()
        EXCHANGE.settle()

    def _await(self, config: str) -> None:
        EXCHANGE.changed()

        def over(report: dict[str, Any]) -> bool:
            return report["config"] == config and report["status"] in {"InService", "Failed"}

        report = EXCHANGE.await_observed("endpoints", self.name, over, _READY_TIMEOUT_S)
        if report is None or report["status"] == "Failed":
            raise DeployError(
                report["reason"]
                if report
                else "SageMaker's data plane did not report the endpoint in time"
            )


RESOURCES: list[type[Resource]] = [Model, EndpointConfig, Endpoint]
