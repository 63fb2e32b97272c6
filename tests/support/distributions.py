"""A distribution's configuration with one origin on loopback."""

from typing import Any

from local.cloudfront.behaviours import ALL_VIEWER_EXCEPT_HOST_HEADER

ALL_METHODS = ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"]


def config(port: Any = 80, *, read_s: float = 60, **default: Any) -> dict[str, Any]:
    """Return a DistributionConfig.

    `read_s` is the origin's read timeout. `default` are members of the default behaviour.
    """
    origin = {
        "Id": "o",
        "DomainName": "localhost",
        "CustomOriginConfig": {
            "OriginProtocolPolicy": "http-only",
            "HTTPPort": port,
            "OriginReadTimeout": read_s,
        },
        "OriginCustomHeaders": [{"HeaderName": "X-Secret", "HeaderValue": "s"}],
    }
    behaviour = {
        "TargetOriginId": "o",
        "AllowedMethods": ALL_METHODS,
        "OriginRequestPolicyId": ALL_VIEWER_EXCEPT_HOST_HEADER,
        **default,
    }
    return {"Enabled": True, "Origins": [origin], "DefaultCacheBehavior": behaviour}
