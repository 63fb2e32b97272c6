"""The process that tries grammars: `python -m model.engines.trial_child`.

`model.engines.trial_process` starts it. It runs llama.cpp with the demo model, 40 MB in all, so a
trial uses the same code as the server. Requests come on standard input and verdicts leave on
standard output, each as four bytes of length and JSON. The process ends with its input. A timer
ends it if a trial takes more CPU time than its request allows, or longer than a caller waits.
"""

from __future__ import annotations

import json
import os
import re
import resource
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from demo_model import WEIGHTS
from demo_model.chat import TEMPLATE
from model.engines.guided import JSON

if TYPE_CHECKING:
    from collections.abc import Iterator

ADDRESS_SPACE = 512 * 1024 * 1024
MAX_OUTPUT = 1024 * 1024  # the maximum that native code may write, in bytes
START_SECONDS = 30  # the parent kills the process after 20
LAST_SECONDS = 10  # the parent kills the process after 5
_TOKENS = 8
_CALL_TOKENS = 16  # within a call that the model may make
MAX_CALLS = 16  # tools whose calls are tried: the largest ones
_NO_JSON = "65"  # the demo model's token "_", with which no JSON begins
_CONTEXT = 8192
_QUESTION = {
    "messages": [{"role": "user", "content": "."}],
    "max_tokens": _TOKENS,
    "logit_bias": {_NO_JSON: 100},  # an answer that no grammar guides begins with it
}
_CALL_BEGUN = '<tool_call>\n{"name": %s, "arguments": '  # as the demo model's template writes it
_ERROR = re.compile(r"(?:llg error|Warning|error parsing grammar): (?:at \d+\(\d+\): )?(.+)")


def limit() -> None:
    """Limit memory and files before any native code is loaded."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_OUTPUT, MAX_OUTPUT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Trier:
    """A server of one slot, whose log is captured."""

    def __init__(self, folder: Path, output: BinaryIO) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = str(WEIGHTS)
        # The template shows only the names of tools. Each trial would have to read their
        # descriptions otherwise.
        params.chat_template = TEMPLATE.replace("tool | tojson", "tool['function']['name']")
        params.n_parallel = 1
        params.n_ctx = _CONTEXT
        params.cpuparams.n_threads = 1
        params.cpuparams_batch.n_threads = 1
        params.fit_params = False
        params.cache_ram_mib = 0
        params.warmup = False
        params.verbosity = 1  # errors only; one of them has the reason
        params.hostnames = [str(folder / "trial.sock")]
        params.api_keys = [secrets.token_hex(16)]
        params.ui = False
        params.n_threads_http = 1
        self._server = xllamacpp.Server(params)
        self._output = output

    def verdict(self, body: dict[str, Any]) -> dict[str, Any]:
        """Try the grammar of a body; return the verdict.

        It has `error`, the reason why llama.cpp cannot guide by the grammar, or None; `seconds` of
        CPU time for the first tokens, with the grammar's preparation; and `step`, the mean CPU
        seconds of a step. With tools that is a step of the slowest call.
        """
        began = time.process_time()
        text, error = self._answer({**body, **_QUESTION})
        seconds = time.process_time() - began
        step = seconds / _TOKENS
        if "tools" in body and error is None:
            step = max(map(self._step_of_call, _largest(body["tools"])))
        return {"error": self._reason(body, text, error), "seconds": seconds, "step": step}

    def _step_of_call(self, tool: dict[str, Any]) -> float:
        """Return the mean CPU seconds of a step within a call of `tool`.

        The prompt begins the call, because the model might not call the tool within the trial.
        """
        begun = _CALL_BEGUN % json.dumps(tool["function"]["name"])
        messages = [{"role": "user", "content": "."}, {"role": "assistant", "content": begun}]
        asked = {
            "tools": [tool],
            "tool_choice": "required",
            "parallel_tool_calls": False,
            "messages": messages,
        }
        began = time.process_time()
        self._answer({**asked, "max_tokens": _CALL_TOKENS})
        return (time.process_time() - began) / _CALL_TOKENS

    def _reason(self, body: dict[str, Any], text: str, error: str | None) -> str | None:
        if "grammar" in body and text.startswith("_"):
            if body["grammar"].startswith(JSON):
                error = error or "it cannot be compiled"
            self._wait_for_reason()
        said = self._said()
        if error is None and "grammar" not in body:
            said = ""  # llama.cpp's own grammars fail with an error
        found = _ERROR.search(said)
        return found.group(1)[:500] if found else error

    def _answer(self, body: dict[str, Any]) -> tuple[str, str | None]:
        chunks: list[dict[str, Any]] = []
        asked = {**body, "stream": True, "temperature": 0}

        def receive(chunk: str) -> bool:
            chunks.append(json.loads(chunk))
            return False

        try:
            self._server.handle_chat_completions(json.dumps(asked), receive)
        except (ValueError, RuntimeError) as error:
            return "", str(error)
        failed = [str(chunk["error"].get("message")) for chunk in chunks if "error" in chunk]
        text = "".join(
            choice["delta"].get("content") or ""
            for chunk in chunks
            for choice in chunk.get("choices") or ()
        )
        return text, failed[0] if failed else None

    def _wait_for_reason(self) -> None:
        """Wait for the log, which llama.cpp writes in a thread."""
        until = time.monotonic() + 0.2
        while time.monotonic() < until and os.fstat(self._output.fileno()).st_size == 0:
            time.sleep(0.002)

    def _said(self) -> str:
        """Return the text that native code has logged since the last call."""
        self._output.seek(0)
        said = self._output.read().decode("utf-8", "replace")
        self._output.truncate(0)
        return said


def _largest(tools: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(tools, key=lambda tool: len(json.dumps(tool)), reverse=True)[:MAX_CALLS]


def _requests(source: BinaryIO) -> Iterator[dict[str, Any]]:
    while len(head := source.read(4)) == 4:
        yield json.loads(source.read(int.from_bytes(head, "big")))


def main() -> None:
    """Serve until the input ends."""
    limit()
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    folder = Path(tempfile.mkdtemp(prefix="sluice-trial-"))
    # A temporary file has no name, so a killed process leaves nothing behind.
    with tempfile.TemporaryFile(mode="a+b") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        try:
            trier = Trier(folder, output)
        finally:
            shutil.rmtree(folder)
        signal.alarm(START_SECONDS)
        ready = trier.verdict({})
        signal.alarm(0)
        _send(sink, ready)
        for asked in _requests(source):
            signal.alarm(LAST_SECONDS)
            # This timer's signal, like the alarm's, ends the process.
            signal.setitimer(signal.ITIMER_PROF, asked["seconds"])
            verdict = trier.verdict(asked["body"])
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.alarm(0)
            _send(sink, verdict)
    os._exit(0)  # llama.cpp need not be shut down in order


def _send(sink: BinaryIO, verdict: dict[str, Any]) -> None:
    data = json.dumps(verdict).encode()
    sink.write(len(data).to_bytes(4, "big") + data)
    sink.flush()


if __name__ == "__main__":
    main()
