"""The parts of the playground that need no browser: their tests run in Node."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent
NODE = Path(sys.executable).with_name("node")


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.test.ts")))
def test_it(name: str) -> None:
    """Each file's tests pass."""
    node = NODE if NODE.exists() else shutil.which("node")
    assert node is not None
    command = [str(node), "--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "--test", name]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# pass 0" not in done.stdout
