"""The certificate stack: where CloudFront looks for certificates, whatever region the others are in."""

from aws_cdk import Environment, Stack
from aws_cdk import aws_certificatemanager as acm
from constructs import Construct

from infra.constructs.domain import zone_of
from infra.settings.deployment import Settings

REGION = "us-east-1"
"""The one region that CloudFront reads certificates in."""


class CertificateStack(Stack):
    """A certificate of ACM for the domain of `settings`, which Route 53 proves to be ours."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings, home: Environment) -> None:
        """Ask for it; the deployment waits some minutes until it is issued. `home` is where the service is."""
        super().__init__(
            scope,
            construct_id,
            description="Sluice: the domain's certificate",
            env=Environment(account=home.account, region=REGION),
            cross_region_references=home.region != REGION,
        )
        assert settings.domain is not None  # noqa: S101 - whoever makes this stack has looked
        self.certificate = acm.Certificate(
            self,
            "Certificate",
            domain_name=settings.domain,
            validation=acm.CertificateValidation.from_dns(zone_of(self, settings)),
        )
