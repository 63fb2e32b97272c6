"""What `sluice destroy` removes."""

import pytest

from cli.destroy import stacks_of
from infra.context import settings_from_context

ZONE = {"domain": "api.example.org", "hosted_zone": "Z1:example.org"}


@pytest.mark.parametrize(
    ("context", "stacks"),
    [
        ({"stage": "dev"}, ["--all"]),
        ({"stage": "dev", **ZONE}, ["--all"]),
        ({"stage": "prod"}, ["sluice-prod-service"]),
        ({"stage": "prod", **ZONE}, ["sluice-prod-service", "sluice-prod-certificate-839f41f7"]),
    ],
    ids=["dev", "dev-domain", "prod", "prod-domain"],
)
def test_tables_that_are_retained_stay(context: dict[str, object], stacks: list[str]) -> None:
    """All goes but the stack with the tables, where those are retained; the certificate goes in any case."""
    assert stacks_of(settings_from_context(context)) == stacks
