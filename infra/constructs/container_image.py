"""The container's image: one that exists already, or one that the deployment builds from model/."""

import re
from pathlib import Path

from aws_cdk import Arn, ArnComponents, IgnoreMode, Stack
from aws_cdk import aws_ecr_assets as ecr_assets
from aws_cdk import aws_iam as iam
from constructs import Construct

from infra.settings import SettingsError

_ECR = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<repository>[\w./-]+?)[:@].+"
)
DOCKERFILE = "model/Dockerfile"
_PULL = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]


class ContainerImage(Construct):
    """`uri` of the image, and the grant to pull it. `image_uri` None builds `model/Dockerfile` for linux/amd64."""

    def __init__(self, scope: Construct, construct_id: str, *, root: Path, image_uri: str | None) -> None:
        """Refer to the image, or have it built when it is deployed."""
        super().__init__(scope, construct_id)
        self._repository_arn: str | None
        if image_uri is None:
            if not (root / DOCKERFILE).is_file():
                raise SettingsError(
                    f"image_uri=none: {DOCKERFILE} is missing; give an image that is already in a registry"
                )
            asset = ecr_assets.DockerImageAsset(
                self,
                "Built",
                directory=str(root),
                file=DOCKERFILE,
                platform=ecr_assets.Platform.LINUX_AMD64,
                # Only what the Dockerfile copies counts for the asset's hash: the weights come from S3.
                exclude=["*", "!locks/model.txt", "!model", "model/demo", "**/__pycache__"],
                ignore_mode=IgnoreMode.DOCKER,
            )
            self.uri = asset.image_uri
            self._repository_arn = asset.repository.repository_arn
        else:
            self.uri = image_uri
            self._repository_arn = self._arn_of(image_uri)

    def grant_pull(self, role: iam.Role) -> None:
        """Let `role` pull this image. One outside ECR is public and needs no grant."""
        if self._repository_arn is None:
            return
        role.add_to_policy(iam.PolicyStatement(actions=_PULL, resources=[self._repository_arn]))
        role.add_to_policy(iam.PolicyStatement(actions=["ecr:GetAuthorizationToken"], resources=["*"]))

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
