"""The endpoint: its resources for different settings."""

import json
from pathlib import Path
from typing import get_args

import botocore.session
import pytest

from infra.compose import compose
from infra.images import containers
from infra.settings.container import Container
from infra.settings.deployment import DEV
from infra.settings.endpoint import MachineImage
from tests.support.synthesis import Synthesis, new_app, resource, variant

DRIVERS = {
    "al2-ami-sagemaker-inference-gpu-2": (12, 2),
    "al2-ami-sagemaker-inference-gpu-2-1": (12, 2),
    "al2-ami-sagemaker-inference-gpu-3-1": (12, 4),
    "al2023-ami-sagemaker-inference-gpu-4-1": (13, 0),
}
"""The newest CUDA version that a machine image's driver runs.

Source: `InferenceAmiVersion` in the API reference of `ProductionVariant`.
"""


def test_no_prompt_is_captured(synthesis: Synthesis) -> None:
    """Data capture is off. Without a setting for it, nothing scales."""
    assert "DataCaptureConfig" not in synthesis.the("AWS::SageMaker::EndpointConfig")
    assert not synthesis.resources("AWS::ApplicationAutoScaling::ScalableTarget")


def test_the_endpoint_can_be_taken_away_and_brought_back(synthesis: Synthesis) -> None:
    """A parameter of the stack decides whether the endpoint exists.

    Everything that refers to the endpoint does so by its explicit name.
    """
    assert synthesis.service["Parameters"]["EndpointState"]["AllowedValues"] == [
        "Running",
        "Stopped",
    ]
    endpoint = resource(synthesis, "AWS::SageMaker::Endpoint")
    assert endpoint["Condition"] == "EndpointRuns"
    (name,) = [key for key, it in synthesis.service["Resources"].items() if it is endpoint]
    others = {key: it for key, it in synthesis.service["Resources"].items() if key != name}
    assert f'"Ref": "{name}"' not in json.dumps([others, synthesis.service["Outputs"]])
    assert f'"Fn::GetAtt": ["{name}"' not in json.dumps([others, synthesis.service["Outputs"]])


def test_to_zero_the_model_is_a_component(to_zero: Synthesis) -> None:
    """With `scale_to_zero` the endpoint has an inference component in place of a model.

    A copy takes all GPUs of an instance. There may be no copy.
    """
    synthesis = variant(to_zero)
    assert synthesis["ManagedInstanceScaling"] == {
        "Status": "ENABLED",
        "MinInstanceCount": 0,
        "MaxInstanceCount": 1,
    }
    assert not {
        "ModelName",
        "InitialVariantWeight",
        "ContainerStartupHealthCheckTimeoutInSeconds",
    } & set(synthesis)
    assert synthesis["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    configuration = to_zero.the("AWS::SageMaker::EndpointConfig")
    assert configuration["EnableNetworkIsolation"] is True
    assert "Role" in configuration["ExecutionRoleArn"]["Fn::GetAtt"][0]
    component = to_zero.the("AWS::SageMaker::InferenceComponent")
    specification = component["Specification"]
    assert specification["ComputeResourceRequirements"]["NumberOfAcceleratorDevicesRequired"] == 4
    assert specification["StartupParameters"]["ContainerStartupHealthCheckTimeoutInSeconds"] == 1800
    assert component["RuntimeConfig"] == {"CopyCount": 1}
    rollback = component["DeploymentConfig"]
    assert rollback["RollingUpdatePolicy"]["MaximumBatchSize"] == {"Type": "COPY_COUNT", "Value": 1}
    assert len(rollback["AutoRollbackConfiguration"]["Alarms"]) == 2
    assert "DeploymentConfig" not in to_zero.the("AWS::SageMaker::Endpoint")


def test_a_vpc_has_two_zones(scaled: Synthesis) -> None:
    """The containers' network interfaces are in the named subnets. The role may create them."""
    assert scaled.the("AWS::SageMaker::Model")["VpcConfig"] == {
        "Subnets": ["subnet-1a", "subnet-2b"],
        "SecurityGroupIds": ["sg-1"],
    }
    assert "ec2:CreateNetworkInterfacePermission" in json.dumps(
        scaled.resources("AWS::IAM::Policy")
    )


def test_an_endpoint_that_exists_is_left_alone(existing: Synthesis) -> None:
    """With an existing endpoint, no SageMaker resource is deployed.

    The function has both models and may invoke both endpoints.
    """
    assert not [
        it
        for it in existing.service["Resources"].values()
        if it["Type"].startswith("AWS::SageMaker::")
    ]
    environment = existing.function("lambda_fn.stream.main.run")["Environment"]["Variables"]
    models = json.loads(environment["SLUICE_MODELS"])
    assert models["sluice-demo"]["endpoint"] == "Their-Endpoint"
    assert models["sluice-demo"]["dialect"] == "openai"
    assert models["other"] == {"endpoint": "Other-One", "context_tokens": 100, "dialect": "tgi"}
    text = json.dumps(existing.resources("AWS::IAM::Policy"))
    assert ":endpoint/their-endpoint" in text
    assert ":endpoint/other-one" in text


def test_the_container_has_no_network(synthesis: Synthesis) -> None:
    """The container runs in network isolation."""
    assert synthesis.the("AWS::SageMaker::Model")["EnableNetworkIsolation"] is True


def test_requests_go_to_the_instance_with_the_fewest(synthesis: Synthesis) -> None:
    """Requests go to the instance with the fewest running requests, not in turns."""
    (variant,) = synthesis.the("AWS::SageMaker::EndpointConfig")["ProductionVariants"]
    assert variant["RoutingConfig"] == {"RoutingStrategy": "LEAST_OUTSTANDING_REQUESTS"}
    assert variant["ContainerStartupHealthCheckTimeoutInSeconds"] == 300


@pytest.mark.parametrize("container", get_args(Container))
def test_every_machine_image_is_one_that_the_api_knows(
    container: Container, project: Path, tmp_path: Path
) -> None:
    """The machine image of each container is in the API's enumeration.

    Its driver runs the CUDA version of the container's image.
    """
    settings = DEV.replace(
        container=container, engine="vllm", instance_type="ml.g6.xlarge", weights="hf:o/m"
    )
    app = new_app(tmp_path)
    _, service = compose(app, settings=settings, root=project)
    resources = app.synth().get_stack_by_name(service.stack_name).template["Resources"]
    [configuration] = [
        it["Properties"]
        for it in resources.values()
        if it["Type"] == "AWS::SageMaker::EndpointConfig"
    ]
    name = configuration["ProductionVariants"][0]["InferenceAmiVersion"]
    assert name in machine_images()
    cuda = containers()[container].cuda if container != "sluice" else (13, 0)
    assert DRIVERS[name] >= cuda


def machine_images() -> list[str]:
    """Return the API's enumeration."""
    model = botocore.session.get_session().get_service_model("sagemaker")
    return list(model.shape_for("ProductionVariantInferenceAmiVersion").enum)


def test_the_setting_accepts_what_the_api_does() -> None:
    """`ami_version` has the API's enumeration."""
    assert sorted(get_args(MachineImage)) == sorted(machine_images())


def test_detailed_metrics_are_set_on_purpose(
    syntheses: dict[str, Synthesis], unkept: Synthesis
) -> None:
    """SageMaker switches them on where nothing is said. The stacks say it either way."""
    on = syntheses["dev"].the("AWS::SageMaker::EndpointConfig")["MetricsConfig"]
    assert on == {"EnableDetailedObservability": True, "MetricPublishFrequencyInSeconds": 60}
    assert unkept.the("AWS::SageMaker::EndpointConfig")["MetricsConfig"] == {
        **on,
        "EnableDetailedObservability": False,
    }
