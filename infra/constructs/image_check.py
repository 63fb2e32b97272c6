"""Checks the container's image before SageMaker sees it, however it was built."""

from aws_cdk import CustomResource, Duration
from aws_cdk import aws_iam as iam
from constructs import Construct, IDependable

from infra.constructs.container_image import ContainerImage
from infra.constructs.inline_function import add_inline_function


class ImageCheck(Construct):
    """A custom resource that fails if SageMaker would reject the image's manifest.

    The model must depend on it. It also waits until IAM knows the container's new role everywhere:
    SageMaker uses the role when it makes the model.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, image: ContainerImage, after: IDependable
    ) -> None:
        """Check `image` once it is built and `after` exists, which is the container's role."""
        super().__init__(scope, construct_id)
        function = add_inline_function(
            self,
            "Function",
            module="image_check",
            description="Checks the manifest of the container's image",
            timeout=Duration.minutes(1),
        )
        role = function.role
        if image.repository_arn is not None and role is not None:
            role.add_to_principal_policy(
                iam.PolicyStatement(actions=["ecr:BatchGetImage"], resources=[image.repository_arn])
            )
        checked = CustomResource(
            self,
            "Done",
            service_token=function.function_arn,
            resource_type="Custom::SluiceImageCheck",
            properties={"Image": image.uri},
            service_timeout=Duration.minutes(5),
        )
        checked.node.add_dependency(function, after)
        if image.build is not None:
            checked.node.add_dependency(image.build.done)
