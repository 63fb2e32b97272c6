"""A distribution's configuration with one origin on loopback."""

from typing import Any

from local.cloudfront.behaviours import ALL_VIEWER_EXCEPT_HOST_HEADER

ALL_METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"]


def config(port: Any = 80, **default: Any) -> dict[str, Any]:
    """Return a DistributionConfig; `default` are members of its default behaviour."""
    origin = {
        "Id": "o",
        "DomainName": "localhost",
        "CustomOriginConfig": {"OriginProtocolPolicy": "http-only", "HTTPPort": port, "OriginReadTimeout": 0.4},
        "OriginCustomHeaders": [{"HeaderName": "X-Secret", "HeaderValue": "s"}],
    }
    behaviour = {
        "TargetOriginId": "o",
        "AllowedMethods": ALL_METHODS,
        "OriginRequestPolicyId": ALL_VIEWER_EXCEPT_HOST_HEADER,
        **default,
    }
    return {"Enabled": True, "Origins": [origin], "DefaultCacheBehavior": behaviour}
