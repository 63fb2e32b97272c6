"""Parts of a distribution's configuration that the local cloud does not emulate."""

from local.cloudfront.unsupported import ignored
from tests.support.distributions import config


def test_what_is_not_emulated_is_named() -> None:
    """Each member of a configuration that the local cloud ignores is named with its path."""
    changed = config(
        SmoothStreaming=True,
        CachePolicyId="658327ea-f89d-4fab-a63d-7e88639e58f6",
        FunctionAssociations=[],
    )
    changed["WebACLId"] = "arn"
    assert ignored(config()) == []
    assert ignored(changed) == [
        "WebACLId",
        "DefaultCacheBehavior.SmoothStreaming",
        "DefaultCacheBehavior.CachePolicyId (nothing is cached)",
    ]
