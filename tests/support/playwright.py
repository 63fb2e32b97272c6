"""Runs tests of Playwright in Debian's Chromium."""

import os
import shutil
import subprocess

import pytest

from cli.lib.project import ROOT
from tests.support import chromium

_LONGEST_S = 480


def run(*arguments: str, **variables: str) -> None:
    """Run the tests of tests/browser/ that `arguments` name, with `variables` in the environment.

    It fails with what Playwright printed.
    """
    if shutil.which(chromium.NAME) is None:
        pytest.fail(chromium.INSTALL)
    program = ROOT / "node_modules/@playwright/test/cli.js"
    node = ROOT / ".venv/bin/node"
    config = ROOT / "tests/browser/playwright.config.ts"
    done = subprocess.run(
        [str(node), str(program), "test", "-c", str(config), *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "CHROMIUM": shutil.which(chromium.NAME) or "",
            "NO_PROXY": "localhost,127.0.0.1",
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_S,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
