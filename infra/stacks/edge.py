"""Stacks in the one region where CloudFront looks for certificates and web ACLs, whatever region
the others are in.
"""

from aws_cdk import Environment, Stack
from constructs import Construct

REGION = "us-east-1"


class EdgeStack(Stack):
    """A stack in `REGION` whose resources the service stack refers to from its own region."""

    def __init__(
        self, scope: Construct, construct_id: str, *, description: str, env: Environment
    ) -> None:
        """Make the stack in the account of `env`, the account and region of the service stack."""
        super().__init__(
            scope,
            construct_id,
            description=description,
            env=Environment(account=env.account, region=REGION),
            cross_region_references=env.region != REGION,
        )
