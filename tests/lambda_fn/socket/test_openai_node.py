"""openai-node in its WebSocket mode, over a real server."""

import pytest

from tests.support.function import FIRST, KEY, REST, StandIn
from tests.support.openai_node import websocket_suite

pytestmark = [pytest.mark.usefixtures("account"), pytest.mark.clients]


async def test_suite(server: str, sagemaker: StandIn) -> None:
    """Every test of the suite passes over ASGI."""
    sagemaker.script = [FIRST, REST]
    await websocket_suite(url=f"http://{server}/v1", key=KEY, model="m", asked="Hi")
