"""Test suites of clients in tests/clients, over the whole local cloud.

Each has an environment of its own.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deployments import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.clients]

FOLDER = Path(__file__).parents[1] / "clients"
PYTHON = Path(sys.prefix) / "clients" / "bin" / "python"
SUITES = {
    "langchain": ([str(PYTHON), "-m", "pytest", "-q", "-c", "pytest.ini", "."], FOLDER),
    "schemathesis": (
        [
            str(PYTHON.parent / "schemathesis"),
            "run",
            "{origin}/v1/openapi.json",
            "-H",
            "Authorization: Bearer {key}",
            "--checks",
            "not_a_server_error",
            "--generation-deterministic",
            "--no-shrink",
            # no limit of time: it would go on until that is spent, so a fast machine tries more
            "--max-examples",
            "15",
            "--phases",
            "coverage,fuzzing",
            "--workers",
            # with more, CPython 3.11 confuses the depths of its AST constructor (gh-106905)
            "1",
        ],
        FOLDER,
    ),
    "node": (
        ["node", "--test", "openai.test.mjs", "ai-sdk.test.mjs", "anthropic.test.mjs"],
        FOLDER / "node",
    ),
}


@pytest.fixture(scope="module")
def running(demo: Deployment, scripted: Deployment) -> Iterator[dict[str, subprocess.Popen[str]]]:
    """Start all suites at once. They mostly wait for the slow demo model."""
    assert PYTHON.exists(), "`make test-clients` installs them"
    given = {
        f"SLUICE_{name}_{field}": value
        for name, deployment in (("DEMO", demo), ("SCRIPTED", scripted))
        for field, value in (
            ("URL", f"{deployment.origin}/v1"),
            ("KEY", deployment.key),
            ("MODEL", deployment.model),
        )
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **given, "PATH": path, "LANGSMITH_TRACING": "false"}
    started = {
        name: subprocess.Popen(
            [part.format(origin=scripted.origin, key=scripted.key) for part in command],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, (command, cwd) in SUITES.items()
    }
    yield started
    for process in started.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("suite", SUITES)
def test_suite(running: dict[str, subprocess.Popen[str]], suite: str) -> None:
    """Every test of the suite passes. A test that is left out has a reason."""
    output, _ = running[suite].communicate(timeout=1200)
    sys.stdout.write(output)
    assert running[suite].returncode == 0, output[-8000:]
