"""What every command prints over a deployed stack: at 80 columns, without colours, and as JSON."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
from rich.cells import cell_len

from cli.lib import admin_api, stack, terminal
from cli.main import main
from local.cloud import LocalCloud
from tests.e2e.test_traces import spans_of
from tests.support.command_lines import LINES, NO_FACTS
from tests.support.deployments import Deployment

pytestmark = pytest.mark.e2e

Where = Literal["terminal", "no colour", "pipe", "json"]
_FAILED = "exit status "
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_COPIED = re.compile(r"(export |unset |sk-|https?://\S+\s*\Z)")
"""Lines for a shell or for copying, which stay whole."""


@pytest.fixture(params=["terminal", "no colour", "pipe", "json"])
def where(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: object
) -> Iterator[Where]:
    """Make the consoles those of a terminal with 80 columns, or of a pipe."""
    to: Where = request.param
    if to == "no colour":
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = to in {"terminal", "no colour"}
    for console, to_errors in ((terminal.console, False), (terminal.errors, True)):
        terminal.Output.__init__(console, stderr=to_errors, force_terminal=shown, width=80)
    yield to
    monkeypatch.undo()
    terminal.Output.__init__(terminal.console)
    terminal.Output.__init__(terminal.errors, stderr=True)


@pytest.fixture
def run(
    cloud: LocalCloud,
    demo: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[str], str]:
    """Return a function that runs a command over the demo model's stack, and returns its output."""
    for module in (stack, admin_api):
        monkeypatch.setattr(module, "LOCAL", cloud.directory)
    saved = stack.LocalStack(
        f"{demo.origin}/v1", demo.key, demo.model, demo.table.name, demo.name, pid=cloud.pid
    )
    monkeypatch.setattr(stack.LocalStack, "saved", lambda: saved)
    monkeypatch.setenv("OPENAI_API_KEY", demo.key)

    def run(line: str) -> str:
        status = main(shlex.split(line))
        out, err = capsys.readouterr()
        return str(out) if status == 0 else f"{_FAILED}{status}: {err}"

    return run


def unlike(where: Where, path: str, printed: str) -> str:
    """Return what is wrong with an output, or an empty text."""
    if printed.startswith(_FAILED):
        return printed
    if where == "json" and path not in NO_FACTS:
        try:
            json.loads(printed)
        except ValueError as error:
            return f"no JSON: {error}"
        return ""
    if where == "pipe" and "\x1b" in printed:
        return "control characters"
    if where == "no colour" and _STYLE.search(printed):
        return "styles"
    if where == "terminal" and path == "keys list" and not _STYLE.search(printed):
        return "no styles at all"  # else the other modes would show nothing
    if where == "pipe":
        return ""
    lines = [_CONTROL.sub("", part) for part in re.split(r"[\r\n]", printed)]
    long = [it for it in lines if cell_len(it.rstrip()) > 80 and not _COPIED.match(it)]
    return f"over 80 columns: {long}" if long else ""


def test_every_command(
    where: Where, run: Callable[[str], str], cloud: LocalCloud, demo: Deployment
) -> None:
    """No line is over 80 columns wide; NO_COLOR and a pipe are plain; facts are JSON on request."""
    made = json.loads(run("keys create --name other --json --stack-name demo"))
    answer = demo.client.chat.completions.create(
        model=demo.model, messages=[{"role": "user", "content": "Hi"}], max_tokens=1
    )
    kept = demo.client.chat.completions.create(
        model=demo.model,
        messages=[{"role": "user", "content": "Hi"}],
        max_tokens=1,
        extra_body={"sluice": {"durable": True}},
    )
    sampled = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
    traced = demo.client.chat.completions.create(
        model=demo.model,
        messages=[{"role": "user", "content": "Hi"}],
        max_tokens=1,
        extra_headers=sampled,
    )
    spans_of(cloud, traced.id.removeprefix("chatcmpl-"))
    names = {
        "key": made["id"],
        "request": answer.id,
        "answer": kept.id,
        "model": demo.model,
        "traced": traced.id,
    }
    wrong = []
    for path, line in LINES:
        full = line.format(**names)
        full += (
            "" if path.split()[0] in {"check", "cost", "fault", "destroy"} else " --stack-name demo"
        )
        full += " --stage local -c name=demo" if path == "destroy" else ""
        full += " --json" if where == "json" and path not in NO_FACTS else ""
        if said := unlike(where, path, run(full)):
            wrong.append(f"{full}: {said}")
    assert wrong == []
