"""Build the functions' deployment packages, without Docker.

`build/<content>-<target>/` has lambda_fn/, schema_guard/, and the dependencies of
locks/<content>.txt, as wheels for the target's platform and Python version. There are three
contents. `control` is for the functions of the admin API. `function` is for all others: it has the
executable bootstrap, and lacks lambda_fn/control/ and its dependencies. `uvloop` is the same with
uvloop.

Equal inputs give equal bytes, so an unchanged function is not deployed again. If nothing has
changed, a build only reads the sources.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from uv import find_uv_bin

from infra.packaging.bytecode import compile_tree, find_interpreter
from infra.settings.deployment import host_architecture, host_python_version
from infra.settings.function import Architecture, Wheels

Content = Literal["function", "uvloop", "control"]
MACHINES: dict[Architecture, str] = {"x86_64": "x86_64", "arm64": "aarch64"}
# Files that are never imported at run time: type stubs, C and Cython sources, and leftovers of
# installers and scripts.
_UNUSED_SUFFIXES = {".pyi", ".pyx", ".pxd", ".c", ".h"}
_UNUSED_NAMES = {"tests", "bin", ".lock", "__pycache__"}
# Licences and METADATA stay, as the licences require.
_UNUSED_DIST_INFO = {
    "INSTALLER",
    "RECORD",
    "REQUESTED",
    "WHEEL",
    "direct_url.json",
    "entry_points.txt",
    "top_level.txt",
    "uv_build.json",
    "uv_cache.json",
}


class PackageError(RuntimeError):
    """The package could not be built; the message says which step failed and why."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """The platform and Python version that the package runs on."""

    python_version: str
    architecture: Architecture
    wheels: Wheels

    @property
    def name(self) -> str:
        """The folder's name, like `arm64-python314`.

        It has no dot, which CDK would read as the start of a file's extension.
        """
        machine = "host" if self.wheels == "host" else self.architecture
        return f"{machine}-python{self.python_version.replace('.', '')}"

    @property
    def platform_options(self) -> list[str]:
        """The options of uv for the platform.

        Amazon Linux 2023 has glibc 2.34, so manylinux_2_28 wheels run there.
        """
        if self.wheels == "host":
            return []
        return ["--python-platform", f"{MACHINES[self.architecture]}-manylinux_2_28"]


@dataclass(frozen=True, kw_only=True)
class Package:
    """A built package: its folder, and the Python version that compiled it.

    If the version is None, the package has no bytecode and starts more slowly.
    """

    path: Path
    bytecode: str | None


def build(*, root: Path, target: Target, content: Content = "function") -> Package:
    """Return the package of the repository at `root`. Build it only if something has changed.

    Raises:
        PackageError: a source is missing, uv failed, or the target's wheels are for this machine
            but the target is another one.

    """
    lock, folder = root / f"locks/{content}.txt", root / "lambda_fn"
    entry = folder / ("control/handler.py" if content == "control" else "bootstrap")
    for needed in (lock, entry, root / "schema_guard/__init__.py"):
        if not needed.is_file():
            raise PackageError(
                f"the package '{content}' needs {needed.relative_to(root)}, which is missing"
            )
    sources = _sources(root, content)
    host = Target(
        python_version=host_python_version(), architecture=host_architecture(), wheels="host"
    )
    if target.wheels == "host" and target != host:
        there, here = (
            f"{it.architecture} with Python {it.python_version}" for it in (target, host)
        )
        raise PackageError(
            f"wheels=host can only build for this machine, which is {here}, not for {there}"
        )
    compiler = find_interpreter(target.python_version)
    bytecode = compiler.version if compiler else None
    path = root / "build" / f"{content}-{target.name}"
    stamp = path.with_suffix(".stamp")
    recipe = [Path(__file__), Path(compile_tree.__code__.co_filename)]
    digest = digest_of([lock, *sources, *recipe], [dataclasses.asdict(target), bytecode, _host()])
    with exclusive(path.with_suffix(".lock")):
        if path.is_dir() and stamp.is_file() and stamp.read_text() == digest:
            return Package(path=path, bytecode=bytecode)
        stamp.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{content}-") as scratch:
            made = Path(scratch) / content
            made.mkdir()
            _install(lock=lock, into=made, target=target)
            _prune(made)
            _copy_sources(sources, root, made)
            if compiler:
                compile_tree(made, compiler)
            _set_modes(made)
            if path.exists():
                path.rename(Path(scratch) / "old")
            made.rename(path)
        stamp.write_text(digest)
    return Package(path=path, bytecode=bytecode)


def _install(*, lock: Path, into: Path, target: Target) -> None:
    # The files are copies and not links into uv's cache, because modes are changed and files are
    # removed below.
    command = [
        find_uv_bin(),
        "pip",
        "install",
        "--quiet",
        "--target",
        str(into),
        "--link-mode",
        "copy",
    ]
    command += [
        "--require-hashes",
        "--only-binary",
        ":all:",
        "--no-deps",
        "--python",
        sys.executable,
    ]
    command += [
        "--python-version",
        target.python_version,
        *target.platform_options,
        "-r",
        str(lock),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PackageError(
            f"the dependencies of {lock.name} for {target.name} could not be "
            f"installed:\n{done.stderr.strip()}"
        )


def _prune(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        in_dist_info = path.parent.suffix == ".dist-info"
        if (
            path.name in _UNUSED_NAMES
            or path.suffix in _UNUSED_SUFFIXES
            or (in_dist_info and path.name in _UNUSED_DIST_INFO)
        ):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _sources(root: Path, content: Content) -> list[Path]:
    own = root / "lambda_fn"
    if content == "control":
        kept = [path for path in _files(own) if path != own / "bootstrap"]
    else:
        kept = [path for path in _files(own) if own / "control" not in path.parents]
    return kept + _files(root / "schema_guard")


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


def _copy_sources(sources: list[Path], root: Path, made: Path) -> None:
    for path in sources:
        # The exec wrapper must be at the root: AWS_LAMBDA_EXEC_WRAPPER=/var/task/bootstrap.
        to = made / (
            "bootstrap" if path == root / "lambda_fn/bootstrap" else path.relative_to(root)
        )
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)


def _set_modes(folder: Path) -> None:
    # Lambda runs the package as another user, so modes must not depend on this machine's umask.
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() or path == folder / "bootstrap" else 0o644)


def digest_of(files: list[Path], facts: list[object]) -> str:
    """Return the digest of files and of facts that a build depends on."""
    digest = hashlib.sha256(json.dumps([*facts, version("uv")], sort_keys=True).encode())
    for path in sorted(files):
        digest.update(f"\0{path}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _host() -> str:
    return f"{sysconfig.get_platform()} {platform.libc_ver()}"


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Make syntheses that run at the same time build one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
