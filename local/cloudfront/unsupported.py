"""Parts of a distribution's configuration that the edge does not emulate. Pure."""

from collections.abc import Iterator
from typing import Any

# The id of the managed policy that caches nothing. The edge caches nothing under any policy.
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
# If set, these members of a distribution, a behaviour or an origin have no effect here.
_DISTRIBUTION = (
    "Aliases",
    "Logging",
    "OriginGroups",
    "Restrictions",
    "ViewerCertificate",
    "WebACLId",
)
_BEHAVIOUR = (
    "FieldLevelEncryptionId",
    "ForwardedValues",
    "FunctionAssociations",
    "GrpcConfig",
    "LambdaFunctionAssociations",
    "RealtimeLogConfigArn",
    "SmoothStreaming",
    "TrustedKeyGroups",
    "TrustedSigners",
)
_ORIGIN = ("OriginShield", "VpcOriginConfig")


def ignored(config: dict[str, Any]) -> list[str]:
    """Return the paths that are not emulated, such as `DefaultCacheBehavior.GrpcConfig`.

    `config` is a DistributionConfig.
    """
    return list(_ignored(config))


def _ignored(config: dict[str, Any]) -> Iterator[str]:
    yield from (name for name in _DISTRIBUTION if config.get(name))
    behaviours = {"DefaultCacheBehavior": config["DefaultCacheBehavior"]}
    behaviours |= {
        f"CacheBehaviors {item['PathPattern']}": item for item in config.get("CacheBehaviors", [])
    }
    for place, behaviour in behaviours.items():
        yield from (
            f"{place}.{name}"
            for name in _BEHAVIOUR
            if behaviour.get(name) not in (None, False, "", [], "false")
        )
        if behaviour.get("CachePolicyId", CACHING_DISABLED) != CACHING_DISABLED:
            yield f"{place}.CachePolicyId (nothing is cached)"
    for origin in config.get("Origins", []):
        yield from (f"Origins {origin['Id']}.{name}" for name in _ORIGIN if origin.get(name))
