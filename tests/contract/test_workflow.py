"""What CI and the hooks of git run exists, and is what this project pins."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]


def commands(job: dict[str, Any]) -> list[str]:
    """Return the commands of a job, once for each value of its matrix."""
    found = []
    for step in job["steps"]:
        lines = [step.get("run", "")]
        for name, values in job.get("strategy", {}).get("matrix", {}).items():
            marker = f"${{{{ matrix.{name} }}}}"
            lines = [
                line.replace(marker, str(value))
                for line in lines
                for value in (values if marker in line else [""])
            ]
        found += lines
    return found


@pytest.mark.parametrize("name", JOBS)
def test_each_target_of_the_workflow_exists(name: str) -> None:
    """A job runs targets of the Makefile, and no matrix names one that does not exist."""
    wanted = {
        target
        for line in commands(JOBS[name])
        for target in re.findall(r"^make ([\w-]+)", line, re.MULTILINE)
    }
    assert wanted
    assert wanted <= TARGETS


def test_each_target_of_a_bare_machine_exists() -> None:
    """`.ci/run` runs targets of the Makefile and files beside it."""
    text = (ROOT / ".ci/run").read_text()
    steps = re.findall(r"^step (\S+) ?([\w-]*)", text, re.MULTILINE)
    assert len(steps) > 5
    for program, target in steps:
        assert target in TARGETS if program == "make" else (ROOT / program).is_file()


def test_the_workflow_tests_each_python_on_linux_and_macos() -> None:
    """`make test` runs on both systems, with each Python that the package accepts."""
    matrix = JOBS["test"]["strategy"]["matrix"]
    assert {system.split("-")[0] for system in matrix["os"]} == {"ubuntu", "macos"}
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]


def test_hooks_are_the_tools_that_are_pinned() -> None:
    """Each hook runs a program of the virtual environment, whose lock names it, or a target."""
    hooks = [
        hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repository["hooks"]
    ]
    locked = (ROOT / "locks/dev.txt").read_text()
    packages = {"lint-imports": "import-linter"}
    for hook in hooks:
        program, _, argument = str(hook["entry"]).partition(" ")
        if program == "make":
            assert argument in TARGETS
            continue
        name = program.removeprefix(".venv/bin/")
        assert name != program
        assert re.search(rf"^{packages.get(name, name)}==", locked, re.MULTILINE)
