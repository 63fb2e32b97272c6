"""The distribution: TLS, HTTP/2 and HTTP/3, and the only way to the functions' URLs."""

from aws_cdk import Duration
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.domain import Domain
from infra.constructs.origin_secret import OriginSecret
from infra.constructs.playground import PAGE, Playground
from infra.limits import LIMITS
from infra.nag import accept
from infra.settings.edge import PriceClass

SECRET_HEADER = "x-sluice-origin-secret"  # noqa: S105  # a header's name
PRICE_CLASSES: dict[PriceClass, cloudfront.PriceClass] = {
    "100": cloudfront.PriceClass.PRICE_CLASS_100,
    "200": cloudfront.PriceClass.PRICE_CLASS_200,
    "all": cloudfront.PriceClass.PRICE_CLASS_ALL,
}


RECALLED = (
    "/v1/responses/*",
    "/v1/chat/completions/*",
    "/v1/conversations*",
    "/v1/sluice/streams*",
    "/v1/websocket/*",
)
"""The paths of kept answers and of tickets for sockets, which the recall function serves."""
NOT_RECALLED = ("/v1/responses/input_tokens", "/v1/responses/compact")
"""Paths below those that the stream function serves: they call the model, and are metered."""


class Edge(Construct):
    """A distribution that passes requests and responses on unchanged.

    It does not cache, compress or buffer. It refuses plain HTTP and does not redirect it: before a
    redirect, a client would have sent its key unencrypted.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        url: lambda_.FunctionUrl,
        recall_url: lambda_.FunctionUrl | None,
        admin_url: lambda_.FunctionUrl | None,
        playground: Playground | None,
        secret: OriginSecret,
        price_class: PriceClass,
        domain: Domain,
        web_acl: str | None,
        strict_transport: bool,
    ) -> None:
        """Create the distribution in front of the function URLs.

        Requests below /admin/ go to `admin_url`, and those of `RECALLED` to `recall_url`. The root
        is the page of `playground`; without one, the API answers there. `web_acl` is an ARN. With
        `strict_transport`, browsers use only HTTPS for this host from then on. On localhost that
        would affect other ports of the host.
        """
        super().__init__(scope, construct_id)
        headers = _headers(self, strict_transport=strict_transport)
        default = _untouched(url, secret, headers)
        # CloudFront takes the first pattern that matches.
        behaviours = {}
        if admin_url is not None:
            behaviours["/admin/*"] = _untouched(admin_url, secret, headers)
        if recall_url is not None:
            recall = _untouched(recall_url, secret, headers)
            behaviours |= dict.fromkeys(NOT_RECALLED, default) | dict.fromkeys(RECALLED, recall)
        if playground is not None:
            behaviours |= playground.behaviours(strict_transport=strict_transport)
        self.distribution = cloudfront.Distribution(
            self,
            "Distribution",
            comment="Sluice",
            default_behavior=default,
            additional_behaviors=behaviours,
            default_root_object=None if playground is None else PAGE,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            price_class=PRICE_CLASSES[price_class],
            web_acl_id=web_acl,
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
                "CFR1": "Keys decide who may call, not countries.",
                "CFR2": "Keys, rate limits and reserved concurrency bound what a caller can do and "
                "cost; the setting "
                "web_acl adds a limit by address.",
                "CFR3": (
                    "The function logs every request; a log of the edge would add the callers' "
                    "addresses."
                ),
                "CFR4": "The certificate of cloudfront.net does not take a minimum version.",
            },
        )


def _headers(scope: Construct, *, strict_transport: bool) -> cloudfront.ResponseHeadersPolicy:
    """Return the policy that adds security headers for browsers.

    The function itself answers CORS requests, by the setting `cors_origins`.
    """
    return cloudfront.ResponseHeadersPolicy(
        scope,
        "Headers",
        comment="Sluice",
        security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
            content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
            referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                referrer_policy=cloudfront.HeadersReferrerPolicy.NO_REFERRER, override=True
            ),
            strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                access_control_max_age=Duration.days(365), override=True
            )
            if strict_transport
            else None,
        ),
    )


def _untouched(
    url: lambda_.FunctionUrl, secret: OriginSecret, headers: cloudfront.ResponseHeadersPolicy
) -> cloudfront.BehaviorOptions:
    return cloudfront.BehaviorOptions(
        origin=origins.FunctionUrlOrigin(
            url,
            custom_headers={SECRET_HEADER: secret.current},
            read_timeout=Duration.seconds(LIMITS.cloudfront_read),
            keepalive_timeout=Duration.seconds(60),
        ),
        allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
        cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
        compress=False,  # compression would buffer
        # A function URL accepts its own host name only.
        origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
        response_headers_policy=headers,
        viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
    )
