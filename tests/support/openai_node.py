"""Runs the WebSocket suite of openai-node: tests/clients/node/websocket.test.mjs."""

import asyncio
import os
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "clients" / "node"


async def websocket_suite(*, url: str, key: str, model: str, asked: str) -> None:
    """Run every test of the suite. `asked` is the input of its requests."""
    assert (FOLDER / "node_modules" / "ws").exists(), "`make test-clients` installs it"
    given = {"URL": url, "KEY": key, "MODEL": model, "INPUT": asked}
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
    print(output.decode())
