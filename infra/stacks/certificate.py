"""The certificate stack: the certificate of the deployment's domain."""

from aws_cdk import Environment
from aws_cdk import aws_certificatemanager as acm
from constructs import Construct

from infra.constructs.domain import zone_of
from infra.settings.deployment import Settings
from infra.stacks.edge import EdgeStack


class CertificateStack(EdgeStack):
    """A certificate of ACM for the domain of `settings`.

    Records in the Route 53 zone prove that we own the domain.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, env: Environment
    ) -> None:
        """Request the certificate. The deployment waits some minutes until ACM issues it."""
        super().__init__(
            scope, construct_id, description="Sluice: the domain's certificate", env=env
        )
        assert settings.domain is not None  # noqa: S101 (`Settings.certificate_stack` is None without a domain)
        self.certificate = acm.Certificate(
            self,
            "Certificate",
            domain_name=settings.domain,
            validation=acm.CertificateValidation.from_dns(zone_of(self, settings)),
        )
