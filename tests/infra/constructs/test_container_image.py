"""The container's image."""

from pathlib import Path

from infra.constructs import container_image
from infra.images import containers
from tests.support.synthesis import Synthesis, variant


def test_a_container_of_aws_is_of_the_deployments_region(to_zero: Synthesis) -> None:
    """The image of an AWS container is looked up by region at deployment.

    It is pulled from AWS's own account in that region.
    """
    container = to_zero.the("AWS::SageMaker::Model")["PrimaryContainer"]
    name, region, member = container["Image"]["Fn::FindInMap"]
    assert (region, member) == ({"Ref": "AWS::Region"}, "uri")
    regions = to_zero.service["Mappings"][name]
    assert {key: it["uri"] for key, it in regions.items()} == containers()["vllm"].uris
    assert all(it["uri"].startswith(f"{it['account']}.dkr.ecr.") for it in regions.values())
    assert variant(to_zero)["InferenceAmiVersion"] == "al2023-ami-sagemaker-inference-gpu-4-1"


def test_the_build_context_is_the_same_for_docker_and_the_cdk() -> None:
    """`EXCLUDED` has the lines of the Dockerfile's own ignore file, in the same order."""
    dockerfile = Path(__file__).parents[3] / container_image.DOCKERFILE
    ignored = Path(f"{dockerfile}.dockerignore").read_text().splitlines()
    assert [line for line in ignored if not line.startswith("#")] == container_image.EXCLUDED
