"""The deployment's domain: its certificate, and its records if Route 53 has the zone."""

from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from infra.settings.deployment import Settings


class Domain(Construct):
    """The domain of the settings, if there is one.

    CloudFront reads certificates only in us-east-1.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        certificate: acm.ICertificate | None,
    ) -> None:
        """Use the `certificate` of the certificate stack, or the one that the settings name."""
        super().__init__(scope, construct_id)
        self.name = settings.domain
        self._settings = settings
        self.certificate = certificate
        if (arn := settings.certificate_arn) is not None:
            self.certificate = acm.Certificate.from_certificate_arn(self, "Certificate", arn)

    def point_at(self, distribution: cloudfront.IDistribution) -> None:
        """Make the DNS records, if the settings name a zone.

        Without a zone, the domain's owner makes a CNAME to the distribution's domain.
        """
        if self.name is None or self._settings.hosted_zone is None:
            return
        zone = zone_of(self, self._settings)
        target = route53.RecordTarget.from_alias(targets.CloudFrontTarget(distribution))
        route53.ARecord(self, "IPv4", zone=zone, record_name=f"{self.name}.", target=target)
        route53.AaaaRecord(self, "IPv6", zone=zone, record_name=f"{self.name}.", target=target)


def zone_of(scope: Construct, settings: Settings) -> route53.IHostedZone:
    """Return the zone that the settings name."""
    zone_id, _, name = str(settings.hosted_zone).partition(":")
    return route53.HostedZone.from_hosted_zone_attributes(
        scope, "Zone", hosted_zone_id=zone_id, zone_name=name
    )
