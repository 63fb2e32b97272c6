"""`lambda_fn.dialects` lists the dialects.

These tests compare the list with each part that may not import it.
"""

from typing import get_args, get_type_hints

import pytest

import infra.settings.container as deployed
from infra.images import containers
from infra.settings.deployment import TYPES
from infra.settings.fields import plain
from lambda_fn import dialects
from lambda_fn.settings import Model
from local.third_party import REPOSITORIES
from local.third_party.shapes import SERVERS

SECOND = {"lmi-inputs", "openai"}
"""Dialects that a container speaks beside its own, when its settings say so."""


@pytest.mark.parametrize("name", dialects.DIALECTS)
def test_each_dialect_is_implemented(name: str) -> None:
    """The object that the table names for a dialect exists, and can decode a response."""
    assert dialects.find(name).decoder(1).close()


def test_function_and_deployment_take_the_same_names() -> None:
    """The settings of function and deployment accept each dialect, and nothing else."""
    names = tuple(dialects.DIALECTS)
    assert get_args(get_type_hints(Model)["dialect"]) == names
    assert get_args(plain(TYPES["dialect"])) == names


def test_each_dialect_has_a_container_and_each_container_a_stand_in() -> None:
    """Each dialect has a container to deploy, and each container has a local stand-in."""
    assert {*deployed.DIALECTS.values(), *SECOND} == set(dialects.DIALECTS)
    assert set(deployed.DIALECTS) == set(get_args(deployed.Container)) == {"sluice", *SERVERS}
    assert set(SERVERS) == set(REPOSITORIES.values()) == set(containers())
