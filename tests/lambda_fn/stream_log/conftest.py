"""StreamTable behind a network on which a test decides what fails."""

import uuid
from collections.abc import Iterator

import pytest

from tests.support.network import Fate, Network, delete_table, operate
from tests.support.stream_logs import Ground
from tests.support.stream_tables import stream_table


@pytest.fixture
def ground() -> Iterator[Ground]:
    """Yield an empty StreamTable with a clock."""
    name = f"streams-{uuid.uuid4().hex}"
    operate("CreateTable", **stream_table(name))
    fates: list[Fate] = []
    network = Network(lambda _: fates.pop(0) if fates else Fate.WELL)
    yield Ground(network, name, fates)
    delete_table(name)
