"""Who may assume a role: a service of AWS, and where AWS documents the condition, on behalf of this account only.

Without the condition a service could be led by another account's request to use a role of ours (the confused deputy).
The account and not one resource is named: roles are made before what uses them, whose ARN would close a circle.

Sources: "Cross-service confused deputy prevention" in the user guides of SageMaker and CodeBuild. Lambda's guide has no
such condition for execution roles: a function whose role had one might not start. Lambda takes a role only from who has
iam:PassRole for it, in the role's own account.
"""

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from constructs import Construct

LAMBDA = "lambda.amazonaws.com"
"""Trusted as AWS documents it: without a condition."""


def service_of_this_account(scope: Construct, name: str) -> iam.ServicePrincipal:
    """Return the principal of the service `name` (`sagemaker`), acting for the account of `scope`'s stack."""
    account = Stack.of(scope).account
    return iam.ServicePrincipal(f"{name}.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": account}})
