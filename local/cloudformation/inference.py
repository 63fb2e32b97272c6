"""AWS::SageMaker::Model, EndpointConfig and Endpoint.

Creating an endpoint starts its container and waits until `/ping` answers; a failure fails the stack with the reason.
"""

from typing import Any

from moto.sagemaker.models import sagemaker_backends

from local.cloudformation.calls import call, call_quietly
from local.cloudformation.resource import DeployError, Properties, Resource
from local.moto.exchange import EXCHANGE

# The data plane gives up by the variant's own start-up timeout, at most an hour; this only bounds a data plane that
# died.
_READY_TIMEOUT_S = 3900.0


class _Named(Resource):
    """Ref is the ARN; the name is an attribute."""

    operations: tuple[str, str]
    arn_member: str

    def create(self) -> None:
        """Create it by the API."""
        answer = call(
            "sagemaker",
            self.context.region,
            self.operations[0],
            **{**self.properties, self.name_property: self.name},
        )
        self.physical_id = answer[self.arn_member]

    def delete(self) -> None:
        """Delete it by the API."""
        call_quietly("sagemaker", self.context.region, self.operations[1], **{self.name_property: self.name})

    def attribute(self, name: str) -> Any:
        """The name."""
        return self.name if name == self.name_property else super().attribute(name)


class Model(_Named):
    """A container image, its environment and its weights."""

    type = "AWS::SageMaker::Model"
    name_property = "ModelName"
    replaced_by = frozenset(
        {"PrimaryContainer", "Containers", "ExecutionRoleArn", "VpcConfig", "EnableNetworkIsolation"}
    )
    operations = ("create_model", "delete_model")
    arn_member = "ModelArn"


class EndpointConfig(_Named):
    """Variants: which model on how many instances."""

    type = "AWS::SageMaker::EndpointConfig"
    name_property = "EndpointConfigName"
    replaced_by = frozenset(
        {"ProductionVariants", "KmsKeyId", "DataCaptureConfig", "AsyncInferenceConfig", "ExecutionRoleArn"}
    )
    operations = ("create_endpoint_config", "delete_endpoint_config")
    arn_member = "EndpointConfigArn"

    def create(self) -> None:
        """Create it; moto forgets the role that inference components run with."""
        role = self.properties.get("ExecutionRoleArn")
        if role is None and any("ModelName" not in item for item in self.properties["ProductionVariants"]):
            raise DeployError("ExecutionRoleArn is required when a production variant has no ModelName.")
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
        """Start the containers and wait for them."""
        super().create()
        # AWS writes the name in an endpoint's ARN in lower case, and policies are held against that.
        self.physical_id = self.physical_id.lower()
        try:
            self._await(self.properties["EndpointConfigName"])
        except DeployError:
            self.delete()
            raise

    def update(self, properties: Properties) -> None:
        """Bring up the new configuration beside the old one, then switch."""
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

        def over(seen: dict[str, Any]) -> bool:
            return seen["config"] == config and seen["status"] in {"InService", "Failed"}

        seen = EXCHANGE.await_observed("endpoints", self.name, over, _READY_TIMEOUT_S)
        if seen is None or seen["status"] == "Failed":
            raise DeployError(seen["reason"] if seen else "the data plane gave no answer")


RESOURCES: list[type[Resource]] = [Model, EndpointConfig, Endpoint]
