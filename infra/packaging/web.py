"""Build the playground, which is the page of `web/`, with Vite.

The result is in `build/web/`. Vite names each file after its content, so equal sources give equal
files. If nothing has changed, a build only reads the sources.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from infra.packaging.package import PackageError, digest_of, exclusive

_REPOSITORY = Path(__file__).resolve().parents[2]
_VITE = _REPOSITORY / "node_modules/vite/bin/vite.js"
_INPUTS = ("index.html", "public", "src", "tsconfig.json", "vite.config.ts")
"""What the page is made of, below `web/`."""


def build(*, root: Path) -> Path:
    """Return the folder of the built page of the repository at `root`.

    Vite is that of this repository, and builds only if something has changed.

    Raises:
        PackageError: the sources or Vite are missing, or Vite failed.

    """
    web = root / "web"
    if not (web / "index.html").is_file():
        raise PackageError("the playground needs web/index.html, which is missing")
    if not _VITE.is_file():
        raise PackageError(
            "the playground is built by Vite, which is not installed: run `make setup`, or leave "
            "the playground out with -c playground=false"
        )
    sources = [path for name in _INPUTS for path in _files(web / name)]
    lock = _REPOSITORY / "package-lock.json"
    path = root / "build" / "web"
    stamp = path.with_suffix(".stamp")
    digest = digest_of([*sources, lock, Path(__file__)], [])
    with exclusive(path.with_suffix(".lock")):
        if path.is_dir() and stamp.is_file() and stamp.read_text() == digest:
            return path
        stamp.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".web-") as scratch:
            made = Path(scratch) / "web"
            _run(web, made)
            if path.exists():
                path.rename(Path(scratch) / "old")
            made.rename(path)
        stamp.write_text(digest)
    return path


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    return [path] if path.is_file() else []


def _run(web: Path, into: Path) -> None:
    own = Path(sys.executable).with_name("node")
    node = str(own) if own.exists() else shutil.which("node")
    if node is None:
        raise PackageError("the playground is built by Node, which is missing: run `make setup`")
    command = [node, str(_VITE), "build", str(web), "--outDir", str(into), "--logLevel", "warn"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=_REPOSITORY)
    if done.returncode != 0 or not (into / "index.html").is_file():
        said = (done.stderr or done.stdout).strip()
        raise PackageError(f"Vite could not build the playground:\n{said[-4000:]}")
