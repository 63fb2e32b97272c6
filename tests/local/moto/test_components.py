"""Inference components: copies of a model on an endpoint, down to none."""

import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.components import template
from tests.support.local_cloud import Client, Stacks

OUTPUTS = {
    "Endpoint": {"Fn::GetAtt": ["Endpoint", "EndpointName"]},
    "Component": {"Fn::GetAtt": ["Component", "InferenceComponentName"]},
}


def test_component_from_one_copy_to_none_and_back(client: Client, stacks: Stacks) -> None:
    """A component answers by its name, and follows the template and the API.

    Without copies it has no capacity.
    """
    stack = stacks.create(template(1), OUTPUTS)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    names = stacks.outputs(stack)
    runtime, api = client("sagemaker-runtime"), client("sagemaker")

    def ask(**component: str) -> dict[str, str]:
        response = runtime.invoke_endpoint(
            EndpointName=names["Endpoint"], Body=b"environment", **component
        )
        environment: dict[str, str] = json.loads(response["Body"].read())["environment"]
        return environment

    def describe() -> dict[str, Any]:
        description: dict[str, Any] = api.describe_inference_component(
            InferenceComponentName=names["Component"]
        )
        return description

    named = {"InferenceComponentName": names["Component"]}
    assert ask(**named)["WORD"] == "first"
    with pytest.raises(ClientError, match="Inference Component Name header is required"):
        ask()
    with pytest.raises(ClientError, match=r"other of endpoint .* was not found"):
        ask(InferenceComponentName="other")

    stacks.update(stack, template(1, "second"), OUTPUTS)
    assert ask(**named)["WORD"] == "second"

    api.update_inference_component_runtime_config(**named, DesiredRuntimeConfig={"CopyCount": 0})
    while describe()["InferenceComponentStatus"] != "InService":
        time.sleep(0.05)
    assert describe()["RuntimeConfig"] == {"DesiredCopyCount": 0, "CurrentCopyCount": 0}
    with pytest.raises(ClientError, match="has no capacity to process this request"):
        ask(**named)
    api.update_inference_component_runtime_config(**named, DesiredRuntimeConfig={"CopyCount": 1})
    while describe()["InferenceComponentStatus"] != "InService":
        time.sleep(0.05)
    assert ask(**named)["WORD"] == "second"
    assert [
        item["InferenceComponentName"]
        for item in api.list_inference_components()["InferenceComponents"]
    ] == [names["Component"]]
    stacks.delete(stack)
    with pytest.raises(ClientError, match="Could not find inference component"):
        describe()
