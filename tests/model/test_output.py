"""The container's log has nothing of a request, and no request can forge a line."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from model.errors import InvalidRequestError
from model.output import OneLine
from tests.support.container_process import ROOT, free_port, wait_for
from tests.support.model import WEIGHTS

if TYPE_CHECKING:
    from pathlib import Path

MARK = "PLANTED"
FORGED = f"{MARK}\nmodel: serving forged\r\n\x1b[31m{MARK}"


def planted() -> list[dict[str, object]]:
    """Return requests with the marker in every text. Native code complains about some of them."""
    question = [{"role": "user", "content": FORGED}]
    bad = {"type": "string", "pattern": f"^{MARK}(a{{5,2}}$", "description": FORGED}
    tool = {
        "type": "function",
        "function": {
            "name": f'{MARK}"x\n\\',
            "description": FORGED,
            "parameters": {"enum": [FORGED]},
        },
    }
    return [
        {"messages": question, "max_tokens": 3, "model": FORGED, "stop": [FORGED]},
        {
            "messages": question,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": FORGED, "schema": bad},
            },
        },
        {
            "messages": question,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {"enum": [FORGED]}},
            },
        },
        {"messages": question, "tools": [tool], "max_tokens": 3},
        {"messages": question, "tools": [tool], "tool_choice": "required", "max_tokens": 3},
        {"messages": [{"role": "assistant", "content": FORGED, "name": FORGED}] * 2},
        {"messages": [{"role": FORGED, "content": FORGED}]},
        {"messages": question, "sluice": {"v": 1, "request_id": f"id\n{MARK}"}, "max_tokens": 2},
    ]


def test_markers() -> None:
    """No line has what callers put into bodies, headers and paths.

    The request id is an exception: it is escaped in its field.
    """
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "model", "serve"],
        cwd=ROOT,
        env={
            "SLUICE_MODEL_DIR": str(WEIGHTS),
            "SLUICE_PARALLEL": "2",
            "SAGEMAKER_BIND_TO_PORT": str(port),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for(address)
        statuses = [
            httpx.post(f"{address}/invocations", json=body, timeout=60).status_code
            for body in planted()
        ]
        httpx.get(
            f"{address}/{MARK}%0Amodel: forged",
            headers={"x-amzn-sagemaker-custom-attributes": MARK},
        )
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()

    assert statuses[:2] == [200, 400]
    assert MARK not in log
    assert log.count("\n") == 2
    assert all(line.startswith("model: ") for line in log.splitlines())
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["request_id"] for line in lines if MARK in json.dumps(line)] == [f"id\n{MARK}"]
    assert process.returncode == 0


CHILD = """
import os, sys
from model import output
import threading
passed_on, line = threading.Semaphore(0), output._line
def told(*given):
    line(*given)
    passed_on.release()
output._line = told
output.capture()
os.write(2, b"loading\\x1b[31m\\n")
sys.stdout.write("from a library\\n"); sys.stdout.flush()
passed_on.acquire(); passed_on.acquire()
path = output.loaded()
output.say(path)
os.write(1, b"PLANTED\\n"); os.write(2, b"PLANTED\\n"); print("PLANTED", flush=True)
output.MAX_FILE = 10
written = open(path).read()
output.trim()
output.say(f"{written.count('PLANTED')} {os.stat(path).st_size}")
output.say("one\\nline\\x1b")
if len(sys.argv) > 1:
    os.abort()
output.remove(path)
"""


@pytest.mark.parametrize("crash", [False, True])
def test_native(crash: bool) -> None:
    """While the engine loads, native output is passed on with a label.

    Afterwards a bounded file keeps it. A crash is reported.
    """
    arguments = [sys.executable, "-c", CHILD, *(["crash"] if crash else [])]
    done = subprocess.run(
        arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    lines = done.stderr.splitlines()
    assert lines[:2] == ["model: engine: loading\\x1b[31m", "model: engine: from a library"]
    assert lines[2].startswith("model: /tmp/sluice-native-") or "sluice-native-" in lines[2]
    assert lines[3:5] == ["model: 3 0", "model: one\\nline\\x1b"]
    assert done.stdout == ""
    assert ("Fatal Python error: Aborted" in done.stderr) == crash
    assert done.returncode == (-signal.SIGABRT if crash else 0)


def test_one_line() -> None:
    """A record with an exception is one line: its type and place, without its text."""
    try:
        raise ValueError(FORGED)
    except ValueError:
        record = logging.LogRecord(
            "x", logging.ERROR, "f", 1, "failed\n%s", ("\x1b",), sys.exc_info()
        )

    line = OneLine().format(record)

    assert line.startswith("model: error: failed\\n\\x1b: ValueError at test_output.py:")
    assert line.isprintable()
    assert MARK not in line


def test_error_text() -> None:
    """An error's message has no control characters and a bounded length."""
    error = InvalidRequestError(FORGED + "x" * 5000, "a\x1bb")

    assert error.message.isprintable()
    assert len(error.message) == 1000
    assert error.param == "a\\x1bb"
    assert b"\\\\x1b" in error.body()


def test_path_of_files(tmp_path: Path) -> None:
    """The error for a file name that cannot be loaded is one line, too."""
    (tmp_path / "a\nmodel: serving.gguf").write_bytes(b"GGUF")
    done = subprocess.run(
        [sys.executable, "-m", "model", "serve"],
        cwd=ROOT,
        env={"SLUICE_MODEL_DIR": str(tmp_path), "SLUICE_PARALLEL": "many\n", "SLUICE_X\n": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
