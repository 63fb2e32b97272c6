"""The targets of the Makefile that pass something on."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("target", ["up", "deploy", "destroy"])
def test_settings_reach_each_command(target: str) -> None:
    """A setting that is dropped would start, or destroy, another deployment than was meant."""
    printed = subprocess.run(
        ["make", "--dry-run", target, "SET=-c name=other"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    commands = re.findall(
        r"^.*(?:bin/sluice|cdk) (?:up|preflight|deploy|smoke|destroy)\b.*", printed, re.MULTILINE
    )
    assert commands
    assert [it for it in commands if not re.search("-c name=other|--stack-name other", it)] == []


def test_ctrl_c_in_a_program_shows_no_traceback(tmp_path: Path) -> None:
    """The program ends by the signal, and so does make. Other errors keep their traceback."""
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt")
    (tmp_path / "wrong.py").write_text("raise ValueError('wrong')")
    rule = "{0}:\n\t@{1} $(MODULE) {0}\n"
    said = {}
    for name in ("interrupted", "wrong"):
        said[name] = subprocess.run(
            ["make", "-f", "Makefile", "-f", "-", name],
            input=rule.format(name, sys.executable),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        ).stderr
    assert "Traceback" not in said["interrupted"]
    assert "Interrupt" in said["interrupted"]
    assert "ValueError: wrong" in said["wrong"]


def test_each_program_of_ours_is_run_so() -> None:
    """`python -m` would show a traceback at Ctrl-C. Only pip and pytest have their own answer."""
    text = (ROOT / "Makefile").read_text()
    assert set(re.findall(r"python -m (\S+)", text)) <= {"pip", "pytest", "does"}
    assert len(re.findall(r"python \$\(MODULE\) \S+", text)) > 30
