"""The stacks that `sluice destroy` removes."""

import pytest

from cli.commands.destroy import stacks_of
from infra.settings.context import settings_from_context

ZONE = {"domain": "api.example.org", "hosted_zone": "Z1:example.org"}


@pytest.mark.parametrize(
    ("context", "stacks"),
    [
        ({"stage": "dev"}, ["--all"]),
        ({"stage": "dev", **ZONE}, ["--all"]),
        ({"stage": "prod"}, ["sluice-prod-service"]),
        ({"stage": "prod", **ZONE}, ["sluice-prod-service", "sluice-prod-certificate-839f41f7"]),
        ({"stage": "prod", "web_acl": "rate"}, ["sluice-prod-service", "sluice-prod-web-acl"]),
    ],
    ids=["dev", "dev-domain", "prod", "prod-domain", "prod-web-acl"],
)
def test_tables_that_are_retained_stay(context: dict[str, object], stacks: list[str]) -> None:
    """All stacks are removed, except that of retained tables. Those in us-east-1 always are."""
    assert stacks_of(settings_from_context(context)) == stacks
