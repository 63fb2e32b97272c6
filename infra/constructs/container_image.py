"""The container's image: an existing one, one of AWS's, or one built from model/."""

import os
import re
from pathlib import Path

from aws_cdk import Annotations, Arn, ArnComponents, Aws, CfnMapping, IgnoreMode, Stack
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.constructs.image_build import ImageBuild
from infra.images import containers
from infra.images.digests import base_of, tag_of
from infra.settings.deployment import Settings, SettingsError

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<repository>[\w./-]+?)[:@].+"
)
DOCKERFILE = "model/Dockerfile"
# Only what the Dockerfile copies is part of the image; the weights come from S3.
EXCLUDED = [
    "*",
    "!locks/model.txt",
    "!model",
    "!schema_guard",
    "!demo_model",
    "demo_model/*",
    "!demo_model/__init__.py",  # grammars are tried with the demo model
    "!demo_model/chat.py",
    "!demo_model/weights",
    "**/__pycache__",
]
_ENGINE = "CDK_DOCKER"
"""The variable that names the engine with which the CDK CLI builds images."""
_OUTPUT = "type=docker,oci-mediatypes=false"
"""BuildKit's output. SageMaker rejects OCI manifests, which newer engines make by themselves.

The CDK CLI switches attestations off, with which BuildKit makes no other manifests.
"""
_PODMAN_FORMAT = "BUILDAH_FORMAT"
_PULL = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


def _podman() -> bool:
    return "podman" in Path(os.environ.get(_ENGINE, "")).name


def podman_environment() -> str | None:
    """Return the variable that podman needs and lacks to make an image for SageMaker, or None."""
    if not _podman() or os.environ.get(_PODMAN_FORMAT) == "docker":
        return None
    return f"{_PODMAN_FORMAT}=docker"


class ContainerImage(Construct):
    """The `uri` of the image, and the grant to pull it.

    Without the setting `image_uri`, `model/Dockerfile` is built for linux/amd64, on this machine or
    by CodeBuild. For AWS's containers, images.json names the image for the region of the
    deployment.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, root: Path, settings: Settings
    ) -> None:
        """Refer to the image, or build it."""
        super().__init__(scope, construct_id)
        self.build: ImageBuild | None = None
        self.repository_arn: str | None
        """The repository in ECR, or None for an image outside ECR."""
        if settings.image_uri is not None:
            self.uri, self.repository_arn = settings.image_uri, self._arn_of(settings.image_uri)
        elif settings.container != "sluice":
            self.uri, self.repository_arn = self._of_aws(settings.container)
        else:
            self.uri, self.repository_arn = self._built(root, settings)

    def grant_pull(self, role: iam.Role) -> None:
        """Grant a role pulling this image. An image outside ECR is public and needs no grant."""
        if self.repository_arn is None:
            return
        role.add_to_policy(iam.PolicyStatement(actions=_PULL, resources=[self.repository_arn]))
        role.add_to_policy(
            iam.PolicyStatement(actions=["ecr:GetAuthorizationToken"], resources=["*"])
        )

    def _built(self, root: Path, settings: Settings) -> tuple[str, str]:
        if not (root / DOCKERFILE).is_file():
            raise SettingsError(
                f"image_uri=none: {DOCKERFILE} is missing; set image_uri to an image that is "
                "in a registry"
            )
        target = "gpu" if settings.engine == "vllm" else "cpu"
        if (base := tag_of(target, (root / DOCKERFILE).read_text())) is not None:
            Annotations.of(Stack.of(self)).add_warning_v2(
                "sluice:base-image",
                f"{DOCKERFILE} takes {base} by its tag, which may name another image tomorrow. "
                "`make digests` pins what it names now.",
            )
        if settings.image_build == "docker" and (wanted := podman_environment()) is not None:
            raise SettingsError(
                f"CDK_DOCKER={os.environ[_ENGINE]}: podman makes OCI manifests, which SageMaker "
                f"rejects; export {wanted}"
            )
        if settings.image_build == "codebuild":
            self.build = ImageBuild(
                self,
                "Build",
                root=root,
                dockerfile=DOCKERFILE,
                target=target,
                base=base_of(target, (root / DOCKERFILE).read_text()),
                exclude=EXCLUDED,
            )
            return self.build.uri, self.build.repository.repository_arn
        asset = ecr_assets.DockerImageAsset(
            self,
            "Built",
            directory=str(root),
            file=DOCKERFILE,
            target=target,
            platform=ecr_assets.Platform.LINUX_AMD64,
            exclude=EXCLUDED,
            ignore_mode=IgnoreMode.DOCKER,
            outputs=None if _podman() else [_OUTPUT],
            # Both engines make the same image. An image that was pushed with another manifest has
            # another hash.
            invalidation=ecr_assets.DockerImageAssetInvalidationOptions(outputs=False),
            extra_hash=_OUTPUT,
        )
        return asset.image_uri, asset.repository.repository_arn

    def _of_aws(self, container: str) -> tuple[str, str]:
        """Return the URI and the repository's ARN of AWS's image.

        CloudFormation looks both up by the region when it deploys.
        """
        image = containers()[container]
        mapping = CfnMapping(
            self,
            "Regions",
            mapping={
                region: {"uri": uri, "account": uri.split(".")[0]}
                for region, uri in image.uris.items()
            },
        )
        arn = Stack.of(self).format_arn(
            service="ecr",
            resource="repository",
            resource_name=image.repository,
            account=mapping.find_in_map(Aws.REGION, "account"),
        )
        return mapping.find_in_map(Aws.REGION, "uri"), arn

    def _arn_of(self, uri: str) -> str | None:
        if not (found := _ECR.fullmatch(uri)):
            return None
        components = ArnComponents(
            service="ecr",
            resource="repository",
            resource_name=found["repository"],
            account=found["account"],
            region=found["region"],
        )
        return Arn.format(components, Stack.of(self))
