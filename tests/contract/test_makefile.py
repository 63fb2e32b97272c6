"""The targets of the Makefile that pass something on."""

import re
import subprocess
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
