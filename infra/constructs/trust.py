"""Which AWS service may assume a role, and on whose behalf.

A service acts on behalf of this account only, where AWS documents that condition. Without it,
another account could make a service use our role (the confused deputy). The condition names the
account and not a resource, because a role is made before the resource that uses it.

Sources: "Cross-service confused deputy prevention" in the user guides of SageMaker and CodeBuild.
Lambda's guide has no such condition for execution roles, and a function with one might not start.
To give a role to a function, a caller needs iam:PassRole in the role's account. CodeDeploy's guide
has no such condition either.
"""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

LAMBDA = "lambda.amazonaws.com"
"""Trusted without a condition, as AWS documents it."""
CODEDEPLOY = "codedeploy.amazonaws.com"
"""Trusted without a condition, as AWS documents it."""


def service_of_this_account(scope: Construct, name: str) -> iam.ServicePrincipal:
    """Return the principal of a service that acts on behalf of this account.

    `name` is the service, such as `sagemaker`. The account is that of `scope`'s stack.
    """
    account = Stack.of(scope).account
    return iam.ServicePrincipal(
        f"{name}.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": account}}
    )
