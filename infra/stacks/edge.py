"""Stacks in the region where CloudFront looks for certificates and web ACLs.

The other stacks may be in any region.
"""

from aws_cdk import Environment, Stack
from constructs import Construct

REGION = "us-east-1"


class EdgeStack(Stack):
    """A stack in `REGION` whose resources the service stack refers to from its own region."""

    def __init__(
        self, scope: Construct, construct_id: str, *, description: str, env: Environment
    ) -> None:
        """Create the stack in the account of `env`, which is the service stack's."""
        super().__init__(
            scope,
            construct_id,
            description=description,
            env=Environment(account=env.account, region=REGION),
            cross_region_references=env.region != REGION,
        )
