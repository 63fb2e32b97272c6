"""openai-node in its WebSocket mode, over a real server."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from tests.support.function import FIRST, KEY, REST, StandIn

pytestmark = [pytest.mark.usefixtures("account"), pytest.mark.clients]
FOLDER = Path(__file__).parents[2] / "clients" / "node"


async def test_suite(server: str, sagemaker: StandIn) -> None:
    """Every test of tests/clients/node/websocket.test.mjs passes."""
    assert (FOLDER / "node_modules" / "ws").exists(), "`make test-clients` installs it"
    sagemaker.script = [FIRST, REST]
    given = {"URL": f"http://{server}/v1", "KEY": KEY, "MODEL": "m"}
    environment = {**os.environ, **{f"SLUICE_SOCKET_{name}": given[name] for name in given}}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *("node", "--test", "websocket.test.mjs"),
        cwd=FOLDER,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 0, output.decode()[-8000:]
