"""StreamTable behind a network on which a test decides what fails."""

from tests.lambda_fn.stream_log.conftest import ground

__all__ = ["ground"]
