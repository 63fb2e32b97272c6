"""The web ACL stack: AWS WAF in front of the distribution."""

import json
from collections.abc import Mapping

from aws_cdk import Environment
from aws_cdk import aws_wafv2 as wafv2
from constructs import Construct

from infra.settings.deployment import Settings
from infra.stacks.edge import EdgeStack

WINDOW = 300
"""The number of seconds over which requests are counted."""
_TOO_MANY = "TooMany"
_MESSAGE = (
    "Too many requests came from this address in the last five minutes. Slow down, then try again."
)


class WebAclStack(EdgeStack):
    """A web ACL that blocks addresses with too many requests in 5 minutes.

    The limit is `web_acl_rate`. Below /admin/ it is `web_acl_admin_rate`, if that is lower. A rule
    counts the requests of each IPv4 or IPv6 address, and blocks the address until its count has
    gone down. It reads no bodies, so prompts of any size pass. It keeps no samples, which would
    contain the callers' keys.
    """

    def __init__(
        self, scope: Construct, construct_id: str, *, settings: Settings, env: Environment
    ) -> None:
        """Create the web ACL."""
        super().__init__(
            scope, construct_id, description="Sluice: the distribution's web ACL", env=env
        )
        below_admin = wafv2.CfnWebACL.StatementProperty(
            byte_match_statement=wafv2.CfnWebACL.ByteMatchStatementProperty(
                field_to_match=wafv2.CfnWebACL.FieldToMatchProperty(uri_path={}),
                positional_constraint="STARTS_WITH",
                search_string="/admin/",
                # CloudFront normalises a path in the same way before it chooses the origin.
                text_transformations=[
                    wafv2.CfnWebACL.TextTransformationProperty(priority=0, type="URL_DECODE"),
                    wafv2.CfnWebACL.TextTransformationProperty(priority=1, type="NORMALIZE_PATH"),
                ],
            )
        )
        acl = wafv2.CfnWebACL(
            self,
            "WebAcl",
            scope="CLOUDFRONT",
            default_action=wafv2.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_metric("WebAcl"),
            custom_response_bodies={
                _TOO_MANY: wafv2.CfnWebACL.CustomResponseBodyProperty(
                    content=json.dumps({"error": _ERROR}), content_type="APPLICATION_JSON"
                )
            },
            rules=[
                _rule(
                    "AdminRate",
                    0,
                    min(settings.web_acl_admin_rate, settings.web_acl_rate),
                    below_admin,
                ),
                _rule("Rate", 1, settings.web_acl_rate, None),
            ],
        )
        self.arn = acl.attr_arn


_ERROR: Mapping[str, str | None] = {
    "message": _MESSAGE,
    "type": "rate_limit_error",
    "param": None,
    "code": "rate_limit_exceeded",
}


def _rule(
    name: str, priority: int, limit: int, narrowed: wafv2.CfnWebACL.StatementProperty | None
) -> wafv2.CfnWebACL.RuleProperty:
    return wafv2.CfnWebACL.RuleProperty(
        name=name,
        priority=priority,
        action=wafv2.CfnWebACL.RuleActionProperty(
            block=wafv2.CfnWebACL.BlockActionProperty(
                custom_response=wafv2.CfnWebACL.CustomResponseProperty(
                    response_code=429,
                    custom_response_body_key=_TOO_MANY,
                    response_headers=[
                        wafv2.CfnWebACL.CustomHTTPHeaderProperty(name="retry-after", value="60")
                    ],
                )
            )
        ),
        statement=wafv2.CfnWebACL.StatementProperty(
            rate_based_statement=wafv2.CfnWebACL.RateBasedStatementProperty(
                aggregate_key_type="IP",
                evaluation_window_sec=WINDOW,
                limit=limit,
                scope_down_statement=narrowed,
            )
        ),
        visibility_config=_metric(name),
    )


def _metric(name: str) -> wafv2.CfnWebACL.VisibilityConfigProperty:
    return wafv2.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )
