"""The programs of examples/, each run as a user runs it, over the whole local cloud."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from local.cloud import LocalCloud
from tests.support.deployments import Deployment

pytestmark = [pytest.mark.e2e, pytest.mark.clients]

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(
    deployment: Deployment,
    name: str,
    *arguments: str,
    status: int = 0,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run an example and return what it prints, if its exit status is the expected one."""
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": f"{deployment.origin}/v1",
        "OPENAI_API_KEY": deployment.key,
        "SLUICE_MODEL": deployment.model,
        **(variables or {}),
    }
    program = [sys.executable] if name.endswith(".py") else []
    done = subprocess.run(
        [*program, str(EXAMPLES / name), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_each_example_is_run_and_listed() -> None:
    """Each program has a test here and a row in the folder's README."""
    programs = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")}
    assert programs == set(re.findall(r'run\(\w+, "([\w.]+)"', Path(__file__).read_text()))
    assert programs == set(
        re.findall(r"^\| \[`([\w.]+)`\]", (EXAMPLES / "README.md").read_text(), re.MULTILINE)
    )


def test_stream(demo: Deployment) -> None:
    """Text comes, and then its number of tokens."""
    assert re.search(
        r"\w+.*\n\n\d+ prompt tokens, \d+ completion tokens\n$", run(demo, "stream.py"), re.DOTALL
    )


def test_curl(demo: Deployment) -> None:
    """Events end in [DONE]; bare text follows."""
    events, _, text = run(demo, "stream.sh").partition("data: [DONE]\n\n")
    assert events.startswith('data: {"id"')
    assert text.strip()
    assert "data:" not in text


def test_tools(demo: Deployment) -> None:
    """The model calls the function with arguments of its schema, and answers."""
    assert re.match(
        r'call: weather\(\{.*"city".*"unit".*\}\)\nanswer: ', run(demo, "tools.py"), re.DOTALL
    )


def test_structured(demo: Deployment) -> None:
    """The answer has the model's form."""
    assert re.match(
        r"Ticket\(topic='(billing|delivery|other)', urgent=(True|False), ",
        run(demo, "structured.py"),
    )


def test_errors(cloud: LocalCloud, demo: Deployment) -> None:
    """A whole answer is printed; a wrong key, a broken stream and a wrong address are told
    apart.
    """
    assert run(demo, "errors.py").strip()
    assert "401 invalid_api_key" in run(
        demo, "errors.py", status=1, variables={"OPENAI_API_KEY": "sk-wrong"}
    )
    assert "cannot be reached" in run(
        demo, "errors.py", status=1, variables={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    )
    # strikes once
    cloud.ask("faults", method="POST", body={"kind": "container-killed", "after": 400})
    assert "The stream broke off after" in run(demo, "errors.py", status=1)


def test_leave(demo: Deployment) -> None:
    """The program ends long before its answer would."""
    assert "\nleft req_" in run(demo, "leave.py")


def test_budget(cloud: LocalCloud, demo: Deployment) -> None:
    """Some requests pass, and then the budget is spent."""
    stack = f"{demo.name}-local-service"
    printed = run(demo, "budget.py", "--stack", stack, variables=cloud.aws_environment())
    assert "request 1: " in printed
    assert printed.endswith("rejected: insufficient_quota\n")
