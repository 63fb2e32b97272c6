"""The container's image."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.compose import compose
from infra.constructs import container_image
from infra.images import containers
from infra.settings.deployment import DEV, SettingsError
from tests.support.synthesis import Synthesis, new_app, variant


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


def build_of(project: Path, out: Path) -> dict[str, Any]:
    """Synthesise the stage dev. Return what the CDK CLI builds the image from, with its hash."""
    app = new_app(out)
    compose(app, settings=DEV, root=project)
    app.synth()
    [(name, image)] = json.loads((out / "sluice-dev-service.assets.json").read_text())[
        "dockerImages"
    ].items()
    return {"hash": name, **image["source"]}


def test_docker_makes_the_image_with_dockers_manifest(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SageMaker rejects OCI manifests. podman has no such option, and an environment for it.

    Both make the same image, under the same name.
    """
    for name in ("CDK_DOCKER", "BUILDAH_FORMAT"):
        monkeypatch.delenv(name, raising=False)
    docker = build_of(project, tmp_path / "docker")
    assert docker["dockerOutputs"] == ["type=docker,oci-mediatypes=false"]
    monkeypatch.setenv("CDK_DOCKER", "/usr/bin/podman")
    monkeypatch.setenv("BUILDAH_FORMAT", "docker")
    podman = build_of(project, tmp_path / "podman")
    assert "dockerOutputs" not in podman
    assert podman["hash"] == docker["hash"]


@pytest.mark.parametrize("form", [None, "oci"])
def test_podman_without_its_environment_ends_the_synthesis(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str | None
) -> None:
    """Podman would make an OCI image. The message says what to export."""
    monkeypatch.setenv("CDK_DOCKER", "podman")
    if form is None:
        monkeypatch.delenv("BUILDAH_FORMAT", raising=False)
    else:
        monkeypatch.setenv("BUILDAH_FORMAT", form)
    with pytest.raises(SettingsError, match="export BUILDAH_FORMAT=docker"):
        compose(new_app(tmp_path), settings=DEV, root=project)
