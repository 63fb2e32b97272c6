"""Compile a package with the target's Python version, if this machine has it.

With bytecode, the function's imports take a fifth of the time. Python ignores the bytecode of
another version.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PROBE = (
    "import json,sys; print(json.dumps([sys.implementation.cache_tag, '%d.%d.%d' % "
    "sys.version_info[:3]]))"
)
# One process compiles the files in order. With UNCHECKED_HASH a .pyc contains no time, so it stays
# valid with the file times that the zip sets.
_COMPILE = """
import pathlib, py_compile, sys
root = pathlib.Path(sys.argv[1])
for path in sorted(root.rglob("*.py")):
    py_compile.compile(str(path), dfile=str(path.relative_to(root)), doraise=True,
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""


class BytecodeError(RuntimeError):
    """A source does not compile, or bytecode is not of the target's version."""


@dataclass(frozen=True)
class Interpreter:
    """A CPython on this machine. `version` is like `3.14.2`, `cache_tag` like `cpython-314`."""

    path: str
    version: str
    cache_tag: str


def find_interpreter(python_version: str) -> Interpreter | None:
    """Return a CPython of a minor version (`3.14`), or None.

    It is the running one, else `python3.14` on PATH.
    """
    candidates = [sys.executable, shutil.which(f"python{python_version}")]
    for path in filter(None, candidates):
        interpreter = _probe(path)
        if interpreter is None or interpreter.version.rpartition(".")[0] != python_version:
            continue
        if interpreter.cache_tag == _tag(python_version):
            return interpreter
    return None


def compile_tree(folder: Path, interpreter: Interpreter) -> None:
    """Compile every source in a folder. Equal sources give equal bytes.

    Raises:
        BytecodeError: a source does not compile; the message has the reason.

    """
    # The hash seed is fixed because it decides the order of constant sets in bytecode. `-I` would
    # ignore it.
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    environment["PYTHONHASHSEED"] = "0"
    command = [interpreter.path, "-P", "-S", "-c", _COMPILE, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode != 0:
        raise BytecodeError(
            f"{interpreter.path} could not compile the package:\n{done.stderr.strip()}"
        )
    check_tags(folder, interpreter.cache_tag)


def check_tags(folder: Path, cache_tag: str) -> None:
    """Raise BytecodeError if a .pyc in a folder is of another Python than `cache_tag`."""
    for path in sorted(folder.rglob("*.pyc")):
        if not path.stem.endswith(f".{cache_tag}"):
            raise BytecodeError(f"{path.relative_to(folder)} is not bytecode of {cache_tag}")


def _tag(python_version: str) -> str:
    return f"cpython-{python_version.replace('.', '')}"


def _probe(path: str) -> Interpreter | None:
    # PATH may have a version manager's shim for a version that is not installed. The shim fails,
    # and counts as absent.
    try:
        done = subprocess.run(
            [path, "-I", "-c", _PROBE], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode != 0:
        return None
    cache_tag, version = json.loads(done.stdout)
    return Interpreter(path=path, version=version, cache_tag=cache_tag)
