"""Bytecode of the target's Python."""

import os
import sys
from pathlib import Path

import pytest

from infra.packaging.bytecode import BytecodeError, Interpreter, compile_tree, find_interpreter


@pytest.mark.parametrize("script", ["exit 127", f'exec {sys.executable} "$@"'])
def test_a_program_that_is_not_that_python_counts_as_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """A version manager's dead shim, or a python3.99 of another version, is not used."""
    program = tmp_path / "python3.99"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_interpreter("3.99") is None


def test_bytecode_of_another_version_is_refused(tmp_path: Path) -> None:
    """Bytecode must carry the target's tag, whatever the compiler calls itself."""
    (tmp_path / "one.py").write_text("")
    lying = Interpreter(path=sys.executable, version="3.99.0", cache_tag="cpython-399")
    with pytest.raises(BytecodeError, match="is not bytecode of cpython-399"):
        compile_tree(tmp_path, lying)
