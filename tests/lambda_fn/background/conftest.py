"""StreamTable behind a network on which a test decides what fails."""

from collections.abc import Iterator

import pytest

from tests.support.stream_logs import Ground, stream_ground


@pytest.fixture
def ground() -> Iterator[Ground]:
    """Yield an empty StreamTable with a clock."""
    with stream_ground() as made:
        yield made
