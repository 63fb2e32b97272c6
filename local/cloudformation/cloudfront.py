"""AWS::CloudFront::*: distributions and the policies that they name.

They are kept in the exchange and not in moto, because the edge reads CloudFormation's form of a
distribution's configuration.
"""

import secrets
import string
from typing import Any

from local.cloudformation.resource import DeployError, Properties, Resource
from local.moto.exchange import APPLY_TIMEOUT_S, EXCHANGE

_LETTERS = string.ascii_uppercase + string.digits


class Distribution(Resource):
    """A distribution, which the edge serves on a loopback port. `DomainName` is localhost:PORT."""

    type = "AWS::CloudFront::Distribution"

    def create(self) -> None:
        """Publish the distribution and wait until the edge reports its port."""
        self.physical_id = "E" + "".join(secrets.choice(_LETTERS) for _ in range(13))
        EXCHANGE.distributions[self.physical_id] = self.properties["DistributionConfig"]
        EXCHANGE.changed()
        report = EXCHANGE.await_observed(
            "distributions", self.physical_id, lambda _seen: True, APPLY_TIMEOUT_S
        )
        if report is None or report["reason"]:
            self.delete()
            raise DeployError(
                report["reason"]
                if report
                else (
                    "the edge of the local cloud did not start the distribution within "
                    f"{APPLY_TIMEOUT_S:g} s"
                )
            )
        self.port = report["port"]

    def update(self, properties: Properties) -> None:
        """Change behaviours and origins. The port stays."""
        EXCHANGE.distributions[self.physical_id] = properties["DistributionConfig"]
        EXCHANGE.changed()
        EXCHANGE.settle()

    def delete(self) -> None:
        """Remove the distribution; the edge closes its port."""
        EXCHANGE.distributions.pop(self.physical_id, None)
        EXCHANGE.changed()

    def attribute(self, name: str) -> Any:
        """Return DomainName or Id."""
        if name == "DomainName":
            return f"localhost:{self.port}"
        return self.physical_id if name == "Id" else super().attribute(name)


class _Policy(Resource):
    """A resource with an id that distributions refer to. Ref is the id."""

    config_property: str

    def create(self) -> None:
        """Store the policy."""
        self.physical_id = "-".join(secrets.token_hex(size) for size in (4, 2, 2, 2, 6))
        self._keep(self.properties)

    def update(self, properties: Properties) -> None:
        """Store the changed policy."""
        self._keep(properties)

    def _keep(self, properties: Properties) -> None:
        EXCHANGE.policies[self.physical_id] = {
            "type": self.type,
            **properties[self.config_property],
        }
        EXCHANGE.changed()

    def delete(self) -> None:
        """Remove the policy."""
        EXCHANGE.policies.pop(self.physical_id, None)

    def attribute(self, name: str) -> Any:
        """Return Id."""
        return self.physical_id if name == "Id" else super().attribute(name)


class CachePolicy(_Policy):
    """A cache policy. The edge caches nothing."""

    type = "AWS::CloudFront::CachePolicy"
    config_property = "CachePolicyConfig"


class OriginRequestPolicy(_Policy):
    """The policy of the headers, cookies and query strings that reach the origin."""

    type = "AWS::CloudFront::OriginRequestPolicy"
    config_property = "OriginRequestPolicyConfig"


class ResponseHeadersPolicy(_Policy):
    """The policy of the headers that are added to responses."""

    type = "AWS::CloudFront::ResponseHeadersPolicy"
    config_property = "ResponseHeadersPolicyConfig"


class OriginAccessControl(_Policy):
    """The rule by which requests to an origin are signed."""

    type = "AWS::CloudFront::OriginAccessControl"
    config_property = "OriginAccessControlConfig"


RESOURCES: list[type[Resource]] = [
    Distribution,
    CachePolicy,
    OriginRequestPolicy,
    ResponseHeadersPolicy,
    OriginAccessControl,
]
