"""Bytecode for the function's package, made by the target's own Python version or not at all.

With bytecode the function's imports take a fifth of the time. Another version's would be ignored at best.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PROBE = "import json,sys; print(json.dumps([sys.implementation.cache_tag, '%d.%d.%d' % sys.version_info[:3]]))"
# One process, files in order. A .pyc that is never checked against its source stays valid whatever times the zip gives
# the files, and holds no time of its own.
_COMPILE = """
import pathlib, py_compile, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    py_compile.compile(str(path), dfile=str(path.relative_to(root)), doraise=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


class BytecodeError(RuntimeError):
    """A source does not compile, or the compiler is of another version than the target."""


@dataclass(frozen=True)
class Interpreter:
    """A CPython on this machine. `version` is like `3.14.2`, `cache_tag` like `cpython-314`."""

    path: str
    version: str
    cache_tag: str


def find_interpreter(python_version: str) -> Interpreter | None:
    """A CPython of this minor version (`3.14`): the running one, or `python3.14` on PATH, or None."""
    candidates = [sys.executable, shutil.which(f"python{python_version}")]
    for path in filter(None, candidates):
        found = _probe(path)
        if found and found.version.rsplit(".", 1)[0] == python_version and found.cache_tag == _tag(python_version):
            return found
    return None


def compile_tree(folder: Path, interpreter: Interpreter) -> None:
    """Compile every source under `folder`, to the same bytes each time. Raises BytecodeError with the reason."""
    # A fixed hash seed, because the order of constant sets in bytecode follows it; `-I` would ignore it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    command = [interpreter.path, "-P", "-S", "-c", _COMPILE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise BytecodeError(f"{interpreter.path} could not compile the package:\n{done.stderr.strip()}")
    check_tags(folder, interpreter.cache_tag)


def check_tags(folder: Path, cache_tag: str) -> None:
    """Raise BytecodeError when a .pyc under `folder` is of another Python than `cache_tag`."""
    for path in sorted(folder.rglob("*.pyc")):
        if not path.stem.endswith(f".{cache_tag}"):
            raise BytecodeError(f"{path.relative_to(folder)} is not bytecode of {cache_tag}")


def _tag(python_version: str) -> str:
    return f"cpython-{python_version.replace('.', '')}"


def _probe(path: str) -> Interpreter | None:
    # A version manager's shim may be on PATH with nothing behind it: it fails, and counts as absent.
    try:
        done = subprocess.run([path, "-I", "-c", _PROBE], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    cache_tag, found = json.loads(done.stdout)
    return Interpreter(path=path, version=found, cache_tag=cache_tag)
