"""The distribution: TLS, HTTP/2 and 3, and the only way to the functions' URLs."""

from aws_cdk import Duration
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.domain import Domain
from infra.constructs.origin_secret import OriginSecret
from infra.limits import LIMITS
from infra.nag import accept
from infra.settings import PriceClass

SECRET_HEADER = "x-sluice-origin-secret"  # noqa: S105  # a header's name
PRICE_CLASSES: dict[PriceClass, cloudfront.PriceClass] = {
    "100": cloudfront.PriceClass.PRICE_CLASS_100,
    "200": cloudfront.PriceClass.PRICE_CLASS_200,
    "all": cloudfront.PriceClass.PRICE_CLASS_ALL,
}


class Edge(Construct):
    """A distribution that passes everything on as it comes: nothing is cached, compressed or gathered.

    Plain HTTP is refused and not redirected: a client that followed would have sent its key in the clear first.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        url: lambda_.FunctionUrl,
        admin_url: lambda_.FunctionUrl | None,
        secret: OriginSecret,
        price_class: PriceClass,
        domain: Domain,
    ) -> None:
        """Create the distribution in front of the function URLs; `admin_url` gets what is below /admin/."""
        super().__init__(scope, construct_id)
        behaviours = {"/admin/*": _untouched(admin_url, secret)} if admin_url is not None else {}
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="Sluice",
            default_behavior=_untouched(url, secret),
            additional_behaviors=behaviours,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=PRICE_CLASSES[price_class],
            domain_names=None if domain.name is None else [domain.name],
            certificate=domain.certificate,
            minimum_protocol_version=None
            if domain.certificate is None
            else cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
        )
        domain.point_at(self.distribution)
        accept(
            self,
            {
                "CFR1": "Who may call is decided by key, not by country.",
                "CFR2": "Keys, rate limits and reserved concurrency bound what a caller can do and cost.",
                "CFR3": "The function logs every request; a log of the edge would add the callers' addresses.",
                "CFR4": "The certificate of cloudfront.net does not take a minimum version.",
            },
        )


def _untouched(url: lambda_.FunctionUrl, secret: OriginSecret) -> cloudfront.BehaviorOptions:
    return cloudfront.BehaviorOptions(
        origin=origins.FunctionUrlOrigin(
            url,
            custom_headers={SECRET_HEADER: secret.current},
            read_timeout=Duration.seconds(LIMITS.cloudfront_read),
            keepalive_timeout=Duration.seconds(60),
        ),
        allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
        cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
        compress=False,  # compression gathers what it compresses
        # A function URL answers only to its own host name.
        origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
        viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
    )
