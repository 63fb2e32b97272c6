"""A domain of one's own: its certificate, and its records where Route 53 has the zone."""

from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_route53 as route53
from aws_cdk import aws_route53_targets as targets
from constructs import Construct

from infra.settings import Settings


class Domain(Construct):
    """The domain of `settings`, if it has one. CloudFront reads certificates in us-east-1 only."""

    def __init__(self, scope: Construct, construct_id: str, *, settings: Settings) -> None:
        """Refer to the certificate."""
        super().__init__(scope, construct_id)
        self.name = settings.domain
        self._zone = settings.hosted_zone
        arn = settings.certificate_arn
        self.certificate: acm.ICertificate | None = (
            None if arn is None else acm.Certificate.from_certificate_arn(self, "Certificate", arn)
        )

    def point_at(self, distribution: cloudfront.IDistribution) -> None:
        """Make the records. Without a zone they are somebody else's to make: a CNAME to the distribution's domain."""
        if self.name is None or self._zone is None:
            return
        zone_id, _, zone_name = self._zone.partition(":")
        zone = route53.HostedZone.from_hosted_zone_attributes(self, "Zone", hosted_zone_id=zone_id, zone_name=zone_name)
        target = route53.RecordTarget.from_alias(targets.CloudFrontTarget(distribution))
        route53.ARecord(self, "IPv4", zone=zone, record_name=f"{self.name}.", target=target)
        route53.AaaaRecord(self, "IPv6", zone=zone, record_name=f"{self.name}.", target=target)
