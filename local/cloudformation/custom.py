"""AWS::CloudFormation::CustomResource and Custom::*: a function that makes the resource.

The function is invoked asynchronously. It answers by a PUT to `ResponseURL`, a presigned address of
S3. The data plane of Lambda invokes it, because the control plane runs no functions. If no answer
comes within `ServiceTimeout`, the resource has failed.

Source: "Custom resource request and response reference" of the CloudFormation user guide.
"""

import json
import re
import time
import uuid
from typing import Any, ClassVar

from local.cloudformation.calls import call
from local.cloudformation.resource import DeployError, Properties, Resource
from local.moto.clients import client
from local.moto.exchange import EXCHANGE

_LONGEST_S = 3600
_POLL_S = 0.1
# A response of a custom resource has at most 4,096 bytes.
_LARGEST = 4096


def _sent(properties: Properties) -> Properties:
    """Return the properties as the function gets them: every number and truth value is a text."""

    def text(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: text(item) for key, item in value.items()}
        if isinstance(value, list):
            return [text(item) for item in value]
        return json.dumps(value) if isinstance(value, (bool, int, float)) else value

    return {key: text(value) for key, value in properties.items() if key != "ServiceTimeout"}


class CustomResource(Resource):
    """A resource that a function makes. Ref is the function's PhysicalResourceId."""

    type: ClassVar[str] = "AWS::CloudFormation::CustomResource"

    def create(self) -> None:
        """Ask the function to create the resource."""
        self._data: dict[str, Any] = {}
        self._take(self._ask("Create", self.properties))

    def update(self, properties: Properties) -> None:
        """Ask the function to update the resource.

        If it returns another PhysicalResourceId, it is then asked to delete the old one.
        """
        before = self.physical_id
        old = {"OldResourceProperties": _sent(self.properties)}
        self._take(self._ask("Update", properties, PhysicalResourceId=before, **old))
        if self.physical_id != before:
            self._ask("Delete", self.properties, PhysicalResourceId=before)

    def delete(self) -> None:
        """Ask the function to delete the resource."""
        self._ask("Delete", self.properties, PhysicalResourceId=self.physical_id)

    def attribute(self, name: str) -> Any:
        """Return a member of the function's Data."""
        if name not in self._data:
            raise DeployError(
                f"CustomResource attribute error: Vendor response doesn't contain {name}"
            )
        return self._data[name]

    def _take(self, answer: dict[str, Any]) -> None:
        self.physical_id = answer.get("PhysicalResourceId") or self.physical_id
        self._data = answer.get("Data") or {}

    def _ask(self, kind: str, properties: Properties, **members: Any) -> dict[str, Any]:
        """Invoke the function and return its answer.

        Raises DeployError with the function's reason, or if it does not answer.
        """
        request_id = str(uuid.uuid4())
        bucket = f"cloudformation-custom-resource-response-{self.context.region.replace('-', '')}"
        call("s3", self.context.region, "create_bucket", Bucket=bucket)
        key = f"{self.context.logical_id}/{request_id}"
        event = {
            "RequestType": kind,
            "StackId": self.context.stack_id,
            "RequestId": request_id,
            "LogicalResourceId": self.context.logical_id,
            "ResourceType": self.context.type,
            "ServiceToken": properties["ServiceToken"],
            "ResourceProperties": _sent(properties),
            **members,
        }
        EXCHANGE.custom_requests[request_id] = {
            "arn": properties["ServiceToken"],
            "bucket": bucket,
            "key": key,
            "event": event,
        }
        EXCHANGE.changed()
        ends = time.monotonic() + int(properties.get("ServiceTimeout") or _LONGEST_S)
        try:
            answer = self._answer(bucket, key, ends)
        finally:
            del EXCHANGE.custom_requests[request_id]
        if answer.get("Status") != "SUCCESS":
            reason = re.sub(r"\s+", " ", str(answer.get("Reason") or "no reason was given"))
            raise DeployError(f"Received response status [FAILED] from custom resource. {reason}")
        return answer

    def _answer(self, bucket: str, key: str, ends: float) -> dict[str, Any]:
        s3 = client("s3", self.context.region)
        while True:
            try:
                body = s3.get_object(Bucket=bucket, Key=key)["Body"].read(_LARGEST + 1)
                break
            except s3.exceptions.NoSuchKey:
                if time.monotonic() > ends:
                    raise DeployError(
                        "CloudFormation did not receive a response from your Custom Resource. "
                        "Please check your logs for requestId"
                    ) from None
                time.sleep(_POLL_S)
        s3.delete_object(Bucket=bucket, Key=key)
        if len(body) > _LARGEST:
            raise DeployError("Response object is too long.")
        try:
            answer = json.loads(body)
        except ValueError:
            raise DeployError("Invalid response: it is not JSON") from None
        if not isinstance(answer, dict):
            raise DeployError("Invalid response: it is not a JSON object")
        return answer


RESOURCES: list[type[Resource]] = [CustomResource]
