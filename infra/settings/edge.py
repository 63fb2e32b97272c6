"""Settings of what is in front of the functions: the distribution, its domain, and AWS WAF."""

from dataclasses import dataclass
from typing import Literal

from infra.settings.fields import SettingsError, setting

PriceClass = Literal["100", "200", "all"]


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """The distribution."""

    admin_url: bool
    """Serve the admin API below /admin/ of the distribution. Without it, only IAM leads to the
    admin API.
    """
    playground: bool
    """Serve the playground, a page for people, at the root of the distribution."""
    cors_origins: tuple[str, ...] = setting(
        default=(),
        pattern=r"\*|[a-z][a-z0-9+.-]*://[a-z0-9.-]+(:\d{1,5})?",
        form="https://app.example.org,http://localhost:3000 or *",
    )
    """The origins whose pages may call the API from a browser. `*`: any."""
    price_class: PriceClass
    # AWS WAF: no web ACL, an existing one, or a new one that limits the requests of each address.
    web_acl: str | None = setting(
        default=None,
        pattern=r"rate|arn:aws:wafv2:us-east-1:\d{12}:global/webacl/[\w-]{1,128}/[0-9a-f-]{36}",
        form="rate, or the ARN of a web ACL for CloudFront, which is in us-east-1",
    )
    web_acl_rate: int = setting(default=3000, minimum=10, maximum=2_000_000_000)
    """The limit of one address's requests in 5 minutes."""
    web_acl_admin_rate: int = setting(default=300, minimum=10, maximum=2_000_000_000)
    """The same limit below /admin/."""
    # A domain in place of the distribution's. Its certificate is created in us-east-1, unless
    # `certificate_arn` names one.
    domain: str | None = setting(
        default=None,
        pattern=r"([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}",
        form="a host name like api.example.org",
    )
    certificate_arn: str | None = setting(
        default=None,
        pattern=r"arn:aws[\w-]*:acm:us-east-1:\d{12}:certificate/[\w-]+",
        form="the ARN of a certificate of ACM in us-east-1",
    )
    hosted_zone: str | None = setting(
        default=None,
        pattern=r"Z[A-Z0-9]+:[a-z0-9.-]+",
        form="the zone's id and name, like Z0123456789:example.org",
    )
    """The zone for the domain's records, and for the record that proves to ACM that we own the
    domain.
    """

    def check_edge(self, *, local: bool) -> None:
        """Raise SettingsError for the first settings that contradict each other."""
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            raise SettingsError(f"cors_origins={','.join(self.cors_origins)}: * is every origin")
        if local and self.web_acl is not None:
            raise SettingsError(
                f"web_acl={self.web_acl}: the local cloud has no AWS WAF; it is for dev and prod"
            )
        self._check_domain()

    def _check_domain(self) -> None:
        if self.domain is None:
            return
        if self.hosted_zone is None:
            if self.certificate_arn is None:
                raise SettingsError(
                    f"domain={self.domain}: needs hosted_zone, with which its certificate is "
                    "made, or the "
                    "certificate_arn of one that exists"
                )
            return
        zone = self.hosted_zone.partition(":")[2].rstrip(".")
        if not f".{self.domain}".endswith(f".{zone}"):
            raise SettingsError(f"domain={self.domain}: is not in the zone {zone} of hosted_zone")
