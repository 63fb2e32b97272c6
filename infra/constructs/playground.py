"""The playground: a page in a private bucket that only the distribution reads."""

import json
from pathlib import Path
from typing import cast

from aws_cdk import CustomResource, Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from infra.constructs.inline_function import add_inline_function
from infra.nag import accept
from infra.packaging.web import build

PAGE = "index.html"
_HEADERS = Path(__file__).resolve().parents[2] / "web/headers.json"


class Playground(Construct):
    """The built files of `web/`, and how the distribution serves them.

    The bucket serves `/`, `/index.html` and `/assets/*` only. Every other path stays the API's, so
    that a mistyped path of the API is answered in JSON.
    """

    def __init__(self, scope: Construct, construct_id: str, *, root: Path) -> None:
        """Build the page, and copy it into a bucket at each deployment that changes it.

        Raises:
            PackageError: the page cannot be built.

        """
        super().__init__(scope, construct_id)
        self.bucket = s3.Bucket(
            self,
            "Bucket",
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            encryption=s3.BucketEncryption.S3_MANAGED,
            enforce_ssl=True,
            removal_policy=RemovalPolicy.DESTROY,  # the files can be built again
        )
        accept(self.bucket, {"S1": "The bucket has the page's public files, which nobody changes."})
        asset = s3_assets.Asset(self, "Files", path=str(build(root=root)))
        function = add_inline_function(
            self,
            "Function",
            module="playground",
            description="Copies the playground's files into their bucket",
            timeout=Duration.minutes(2),
            memory_mb=512,
        )
        copies = [
            (["s3:GetObject"], asset.bucket.arn_for_objects(asset.s3_object_key)),
            (["s3:PutObject", "s3:DeleteObject"], self.bucket.arn_for_objects("*")),
            (["s3:ListBucket"], self.bucket.bucket_arn),
        ]
        policy = iam.Policy(
            self,
            "Copies",
            roles=[] if function.role is None else [function.role],
            statements=[
                iam.PolicyStatement(actions=actions, resources=[resource])
                for actions, resource in copies
            ],
        )
        own = Stack.of(self).get_logical_id(cast("s3.CfnBucket", self.bucket.node.default_child))
        finding = f"IAM5[Resource::<{own}.Arn>/*]"
        accept(policy, {finding: "The function puts and deletes every object of its bucket."})
        copied = CustomResource(
            self,
            "Copied",
            service_token=function.function_arn,
            resource_type="Custom::SluicePlayground",
            properties={
                "Bucket": self.bucket.bucket_name,
                "SourceBucket": asset.s3_bucket_name,
                "SourceKey": asset.s3_object_key,
            },
            service_timeout=Duration.minutes(5),
        )
        copied.node.add_dependency(policy)

    def behaviours(self, *, strict_transport: bool) -> dict[str, cloudfront.BehaviorOptions]:
        """Return the distribution's behaviours by path pattern.

        With `strict_transport`, browsers use only HTTPS for this host from then on.
        """
        origin = origins.S3BucketOrigin.with_origin_access_control(self.bucket)
        headers = _headers(self, strict_transport=strict_transport)

        def serve(cache: cloudfront.ICachePolicy) -> cloudfront.BehaviorOptions:
            return cloudfront.BehaviorOptions(
                origin=origin,
                allowed_methods=cloudfront.AllowedMethods.ALLOW_GET_HEAD,
                cache_policy=cache,
                compress=True,
                response_headers_policy=headers,
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.REDIRECT_TO_HTTPS,
            )

        # A deployment is seen at the next load: the page is asked for each time. All other
        # files have their content in their names.
        page = serve(cloudfront.CachePolicy.CACHING_DISABLED)
        files = serve(cloudfront.CachePolicy.CACHING_OPTIMIZED)
        return {"/": page, f"/{PAGE}": page, "/assets/*": files}


def _headers(scope: Construct, *, strict_transport: bool) -> cloudfront.ResponseHeadersPolicy:
    """Return the policy of the page's headers, which `web/headers.json` lists."""
    headers: dict[str, str] = json.loads(_HEADERS.read_text())
    return cloudfront.ResponseHeadersPolicy(
        scope,
        "Headers",
        comment="Sluice playground",
        security_headers_behavior=cloudfront.ResponseSecurityHeadersBehavior(
            content_security_policy=cloudfront.ResponseHeadersContentSecurityPolicy(
                content_security_policy=headers.pop("Content-Security-Policy"), override=True
            ),
            content_type_options=cloudfront.ResponseHeadersContentTypeOptions(override=True),
            frame_options=cloudfront.ResponseHeadersFrameOptions(
                frame_option=cloudfront.HeadersFrameOption[headers.pop("X-Frame-Options")],
                override=True,
            ),
            referrer_policy=cloudfront.ResponseHeadersReferrerPolicy(
                referrer_policy=cloudfront.HeadersReferrerPolicy.NO_REFERRER, override=True
            ),
            strict_transport_security=cloudfront.ResponseHeadersStrictTransportSecurity(
                access_control_max_age=Duration.days(365), override=True
            )
            if strict_transport
            else None,
        ),
        custom_headers_behavior=cloudfront.ResponseCustomHeadersBehavior(
            custom_headers=[
                cloudfront.ResponseCustomHeader(header=name, value=value, override=True)
                for name, value in headers.items()
                if name not in {"Referrer-Policy", "X-Content-Type-Options"}
            ]
        ),
    )
