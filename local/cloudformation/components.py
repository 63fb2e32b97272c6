"""AWS::SageMaker::InferenceComponent: copies of a model on an endpoint.

The endpoint's variants have no model of their own.
"""

from typing import Any

from local.cloudformation.resource import DeployError, Properties, Resource
from local.moto import components
from local.moto.exchange import EXCHANGE

# The data plane gives up after the component's start-up timeout, which is at most an hour.
_READY_TIMEOUT_S = 3900.0


class InferenceComponent(Resource):
    """An inference component. Ref is its ARN."""

    type = "AWS::SageMaker::InferenceComponent"
    name_property = "InferenceComponentName"
    replaced_by = frozenset({"EndpointName", "VariantName"})

    def create(self) -> None:
        """Start the copies and wait until they are in service."""
        members = {
            "VariantName": "AllTraffic",
            **self.properties,
            "InferenceComponentName": self.name,
        }
        try:
            self.physical_id = components.create(members, self.context.region)
            self._await()
        except components.Refused as error:
            raise DeployError(str(error)) from error
        except DeployError:
            self.delete()
            raise

    def update(self, properties: Properties) -> None:
        """Start the changed copies beside the old ones, then switch to them."""
        copies = properties.get("RuntimeConfig", {}).get("CopyCount")
        components.change(
            self.name,
            copies=None if copies is None else int(copies),
            specification=properties["Specification"],
        )
        self._await()

    def delete(self) -> None:
        """Stop the copies."""
        components.delete(self.name)

    def _await(self) -> None:
        component = EXCHANGE.components[self.name]
        config = f"{self.name}-{component['version']}"

        def over(report: dict[str, Any]) -> bool:
            return report["config"] == config and report["status"] in {"InService", "Failed"}

        report = EXCHANGE.await_observed(
            "endpoints", f"{component['endpoint']}/{self.name}", over, _READY_TIMEOUT_S
        )
        if report is None or report["status"] == "Failed":
            raise DeployError(
                report["reason"]
                if report
                else "SageMaker's data plane did not report the component in time"
            )

    def attribute(self, name: str) -> Any:
        """Return InferenceComponentArn, InferenceComponentName or InferenceComponentStatus."""
        values = {
            "InferenceComponentArn": self.physical_id,
            "InferenceComponentName": self.name,
            "InferenceComponentStatus": "InService",
        }
        return values[name] if name in values else super().attribute(name)


RESOURCES: list[type[Resource]] = [InferenceComponent]
