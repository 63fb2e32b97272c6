"""llama.cpp's own conversion and first steps, in a separate process.

The process may take 512 MB more than the loaded model. `xllamacpp.json_schema_to_grammar` only
wraps the schema's text here, so a whole server of the demo model converts it.
"""

import contextlib
import itertools
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from demo_model.chat import TEMPLATE

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "demo_model/weights/sluice-demo.gguf"
MEMORY = 512 << 20
_QUOTE = "4"  # the demo model's token '"', which would end a string
SECONDS = 2.0
"""CPU time of one conversion with its first tokens."""


class Converter:
    """The child process. It is not used again after it has died."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def convert(self, schema: object) -> dict[str, Any]:
        """Convert a schema. Return `error`, or None, and `seconds` of CPU.

        If the process dies, that is an error, too.
        """
        return self._ask({"schema": schema})

    def call(self, schema: object) -> float:
        """Call a tool with these parameters, and return the longest step's CPU seconds.

        Raises AssertionError if llama.cpp fails.
        """
        found = self._ask({"call": schema})
        assert found["error"] is None, found["error"]
        longest: float = found["longest"]
        return longest

    def _ask(self, asked: dict[str, object]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"the process ended with {self._process.wait()}", "seconds": 0.0}
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def converter() -> Iterator[Converter]:
    """Yield a converter in a child process."""
    command = [sys.executable, "-m", "tests.schema_guard.converter"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield Converter(process)
        finally:
            process.kill()


def _server(folder: str) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(WEIGHTS)
    params.chat_template = TEMPLATE.replace("tool | tojson", "tool['function']['name']")
    params.n_parallel = 1
    params.n_ctx = 512
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = params.n_threads_http = 1
    params.fit_params = params.ui = False
    params.cache_ram_mib = 0
    params.verbosity = -1
    params.hostnames = [f"{folder}/server.sock"]
    return xllamacpp.Server(params)


def _convert(server: Any, schema: object) -> str | None:
    failures: list[str] = []

    def receive(chunk: str) -> bool:
        error = json.loads(chunk).get("error")
        if error is not None:
            failures.append(str(error))
        return False

    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    request = {
        "messages": [{"role": "user", "content": "Say"}],
        "max_tokens": 4,
        "seed": 1,
        "stream": True,
    }
    try:
        server.handle_chat_completions(json.dumps({**request, "response_format": form}), receive)
    except (RuntimeError, ValueError) as error:
        failures.append(str(error))
    return failures[0] if failures else None


def _call(server: Any, schema: object) -> tuple[str | None, float]:
    """Return the error of a call that the prompt has begun, and its longest step's CPU seconds."""
    times: list[float] = []
    failures: list[str] = []

    def receive(chunk: str) -> bool:
        times.append(time.process_time())
        failures.extend(str(found) for found in [json.loads(chunk).get("error")] if found)
        return False

    function = {"name": "f", "description": "", "parameters": schema}
    request = {
        "messages": [
            {"role": "user", "content": "."},
            {"role": "assistant", "content": '<tool_call>\n{"name": "f", "arguments": '},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 60,
        "temperature": 0,
        "logit_bias": {_QUOTE: -100},
        "stream": True,
    }
    try:
        server.handle_chat_completions(json.dumps(request), receive)
    except (RuntimeError, ValueError) as error:
        failures.append(str(error))
    # The first chunk comes after the prompt and the grammar.
    steps = [after - before for before, after in itertools.pairwise(times)]
    return (failures[0] if failures else None), max(steps, default=0.0)


def _serve() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = _server(folder)
        _convert(server, {"type": "null"})
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for line in sys.stdin:
            began = time.process_time()
            resource.setrlimit(
                resource.RLIMIT_CPU, (int(began + 10 * SECONDS), resource.RLIM_INFINITY)
            )
            asked = json.loads(line)
            found: dict[str, Any] = {}
            if "call" in asked:
                found["error"], found["longest"] = _call(server, asked["call"])
            else:
                found["error"] = _convert(server, asked["schema"])
            print(json.dumps({**found, "seconds": time.process_time() - began}), flush=True)


if __name__ == "__main__":
    _serve()
