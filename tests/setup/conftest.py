"""Fixtures: a checkout whose packages are in local caches."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.checkout import ROOT, Checkout
from tests.support.signals import taken


@pytest.fixture(scope="module", autouse=True)
def signals() -> Iterator[None]:
    """Start commands that take the signals, also where this process was told to ignore them."""
    with taken():
        yield


@pytest.fixture(scope="module")
def checkout(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Checkout]:
    """Yield a copy of the working tree for each file, whose packages are in local caches.

    It is on the disk of the working tree, as uv's cache may be: uv then makes links and no copies.
    """
    folder = ROOT / "build" / request.path.stem
    shutil.rmtree(folder, ignore_errors=True)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and (ROOT / name).stat().st_size < 3_000_000:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    wheels = tmp_path_factory.mktemp("wheels")
    bare = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    made = Checkout(folder, bare)
    made.complete()
    subprocess.run(
        [".venv/bin/python", "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels,
         "-r", ".venv/uv.txt"],
        cwd=folder, check=True,
    )  # fmt: skip
    made.environment = {
        **bare,
        "UV_OFFLINE": "1",
        "npm_config_offline": "true",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheels),
    }
    made.remove()
    made.complete()
    made.check()
    yield made
    shutil.rmtree(folder)
