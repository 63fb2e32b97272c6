"""The certificate stack: the certificate of the deployment's domain."""

from aws_cdk import Duration, Environment
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra.constructs.alarms import add_alarm, alarm_topics
from infra.constructs.domain import zone_of
from infra.settings.deployment import Settings
from infra.stacks.edge import REGION, EdgeStack

EXPIRES_SOON = 30
"""Days that a certificate has left when its alarm rises. ACM renews it 60 days before its end, so a
renewal has failed by then.
"""


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
        add_alarm(
            Construct(self, "Expires"),
            "Resource",
            description=(
                f"Sluice {settings.name}-{settings.stage}: the certificate of {settings.domain} "
                "is not renewed. See why in the console of ACM: most often its record is gone "
                "from the zone."
            ),
            metric=cloudwatch.Metric(
                namespace="AWS/CertificateManager",
                metric_name="DaysToExpiry",
                dimensions_map={"CertificateArn": self.certificate.certificate_arn},
                statistic="Minimum",
                period=Duration.days(1),
            ),
            threshold=EXPIRES_SOON,
            below=True,
            # An alarm notifies topics of its own region only.
            actions=[topic for topic in alarm_topics(settings) if topic.split(":")[3] == REGION],
        )
