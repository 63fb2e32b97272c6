"""The fixtures of the container."""

import pytest

from tests.support.model import Serve, serving


@pytest.fixture
def serve() -> Serve:
    """Serve an engine (the scripted one unless named) with settings and timing of the test's own."""
    return serving
