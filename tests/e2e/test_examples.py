"""The programs of examples/, run as a user runs them, over the whole local cloud."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from openai import OpenAI

from local.cloud import LocalCloud
from tests.e2e.test_faults import wait_for_container
from tests.support.deployments import Deployment
from tests.support.faults import fault
from tests.support.signals import taken

pytestmark = [pytest.mark.e2e, pytest.mark.clients]

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(
    deployment: Deployment,
    name: str,
    *arguments: str,
    status: int = 0,
    variables: Mapping[str, str] | None = None,
) -> str:
    """Run an example. Return what it prints. Its exit status must be the expected one."""
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
        timeout=300,
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
    """The text arrives, then its number of tokens."""
    assert re.search(
        r"\w+.*\n\n\d+ prompt tokens, \d+ completion tokens\n$", run(demo, "stream.py"), re.DOTALL
    )


def test_curl(demo: Deployment) -> None:
    """Events end in [DONE]. Bare text follows."""
    events, _, text = run(demo, "stream.sh").partition("data: [DONE]\n\n")
    assert events.startswith('data: {"id"')
    assert text.strip()
    assert "data:" not in text


def test_chat(demo: Deployment, tmp_path: Path) -> None:
    """A chat that was killed in an answer shows the rest, and Ctrl-C stops one on the server."""
    state = tmp_path / "chat.json"
    environment = {
        **os.environ,
        "OPENAI_BASE_URL": f"{demo.origin}/v1",
        "OPENAI_API_KEY": demo.key,
        "SLUICE_MODEL": demo.model,
    }

    def interrupted(end: int) -> str:
        """Ask for a story, and end the program in its first words. Return what it prints."""
        with (
            taken(),
            subprocess.Popen(
                [sys.executable, str(EXAMPLES / "chat.py"), str(state)],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            ) as program,
        ):
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write("Tell me a story about a lighthouse.\n")
            program.stdin.flush()
            printed = program.stdout.read(6).removeprefix("> ")
            program.send_signal(end)
            return printed + program.communicate()[0]

    printed = interrupted(signal.SIGKILL)
    running = json.loads(state.read_text())["running"]
    again = run(demo, "chat.py", str(state))
    rest = again.partition("(the rest of the last answer)\n")[2].removesuffix("> \n")
    with OpenAI(base_url=f"{demo.origin}/v1", api_key=demo.key) as client:
        whole = client.responses.retrieve(running["id"]).output_text
    assert whole.startswith(printed[:4])
    assert whole.endswith(rest.strip())
    assert "(stopped)" in interrupted(signal.SIGINT)
    assert json.loads(state.read_text())["running"] is None


def test_chat_with_an_answer_that_has_gone(demo: Deployment, tmp_path: Path) -> None:
    """The chat says so and goes on without it, until its input ends."""
    state = tmp_path / "chat.json"
    state.write_text(json.dumps({"last": None, "running": {"id": "resp_gone", "seen": 3}}))
    printed = "(the rest of the last answer)\n(it is not kept any more)\n\n> \n"
    assert run(demo, "chat.py", str(state)) == printed
    assert json.loads(state.read_text())["running"] is None


def test_chat_with_a_cancelled_answer(demo: Deployment, tmp_path: Path) -> None:
    """An answer that was cancelled elsewhere is said to be so, and the chat goes on."""
    state = tmp_path / "chat.json"
    with OpenAI(base_url=f"{demo.origin}/v1", api_key=demo.key) as client:
        answer = client.responses.create(
            model=demo.model, input="Tell me a story.", background=True, stream=True
        )
        created = next(iter(answer))
        assert created.type == "response.created"
        client.responses.cancel(created.response.id)
        answer.close()
    state.write_text(json.dumps({"last": None, "running": {"id": created.response.id, "seen": 0}}))
    printed = run(demo, "chat.py", str(state))
    assert printed.startswith("(the rest of the last answer)\n")
    assert printed.endswith("\n(cancelled)\n\n> \n")
    assert json.loads(state.read_text())["running"] is None


def test_chat_with_another_programs_file(demo: Deployment, tmp_path: Path) -> None:
    """A file that it has not written is left as it is, and said to be none of its own."""
    for text in ("[]", "{}", "no JSON"):
        other = tmp_path / "other.json"
        other.write_text(text)
        printed = run(demo, "chat.py", str(other), status=1)
        assert printed == f"{other} is no file of this program. Name another, or none.\n"
        assert other.read_text() == text


def test_tools(demo: Deployment) -> None:
    """The model calls the function with arguments of its schema, then answers."""
    assert re.match(
        r'call: weather\(\{.*"city".*"unit".*\}\)\nanswer: ', run(demo, "tools.py"), re.DOTALL
    )


def test_structured(demo: Deployment) -> None:
    """The answer has the type of the model class."""
    assert re.match(
        r"Ticket\(topic='(billing|delivery|other)', urgent=(True|False), ",
        run(demo, "structured.py"),
    )


def test_errors(cloud: LocalCloud, demo: Deployment) -> None:
    """A whole answer is printed.

    A wrong key, a broken stream and a wrong address have different messages.
    """
    assert run(demo, "errors.py").strip()
    assert "401 invalid_api_key" in run(
        demo, "errors.py", status=1, variables={"OPENAI_API_KEY": "sk-wrong"}
    )
    assert "cannot be reached" in run(
        demo, "errors.py", status=1, variables={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}
    )
    with fault(cloud, kind="container-killed", scope="demo*", after=400):  # it strikes once
        assert "The stream broke off after" in run(demo, "errors.py", status=1)
    wait_for_container(demo)


def test_leave(demo: Deployment) -> None:
    """The program ends long before its answer would."""
    assert "\nleft req_" in run(demo, "leave.py")


def test_budget(cloud: LocalCloud, demo: Deployment) -> None:
    """Some requests succeed, then the budget is spent."""
    stack = f"{demo.name}-local-service"
    printed = run(demo, "budget.py", "--stack", stack, variables=cloud.aws_environment())
    assert "request 1: " in printed
    assert printed.endswith("rejected: insufficient_quota\n")
