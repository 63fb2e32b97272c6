"""Tries a chat template before its model is loaded: `python -m model.engines.chat_template`.

llama.cpp renders templates in the process that serves, without any limit: one that loops, allocates
or recurses without end would hang or kill it. So a template runs first in a separate process,
with the demo model, 512 MB of address space and `CPU_SECONDS`. The template comes on standard
input, and the verdict leaves on standard output as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_model import WEIGHTS
from model.engines import trial_child
from model.errors import StartError

if TYPE_CHECKING:
    from typing import BinaryIO

CPU_SECONDS = 5.0
MISSING = "the file has no chat template, so nothing says how this model reads a conversation"
_WALL_SECONDS = 120.0
_WAY_OUT = (
    "set SLUICE_CHAT_TEMPLATE to one that works, or serve another GGUF file of the model, with a "
    "template that works"
)
_ROOT = Path(__file__).parents[2]
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "HOME", "SYSTEMROOT")
_RAISED = "Error: Jinja Exception: "
_FAILED = "\nError: "
_SYNTAX = re.compile(r"(?:Parser|Lexer) Error: [^\n]*")
_LOG_LINE = re.compile(r"\n\S+ [EWID] ")
_USER = {"role": "user", "content": "."}
_CONVERSATIONS = (
    [_USER],
    [{"role": "system", "content": "."}, _USER],
    [_USER, {"role": "assistant", "content": "."}, _USER],
)


def sentence(text: str) -> str | None:
    """Return what a template raised, or why it failed, from llama.cpp's text.

    The text also quotes the template. Return None for a text about anything else.
    """
    if _RAISED in text:
        found = text.partition(_RAISED)[2]
    elif "While executing " in text and _FAILED in text:
        found = text.rpartition(_FAILED)[2]
    elif (syntax := _SYNTAX.search(text)) is not None:
        found = syntax[0]
    else:
        return None
    return _LOG_LINE.split(found)[0].strip() or "it gives no reason"


async def check(template: str, cpu_seconds: float = CPU_SECONDS) -> None:
    """Try a template.

    Raises StartError if it fails for every conversation, or if it would hang or kill the container.
    """
    path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
    known = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "model.engines.chat_template",
        str(cpu_seconds),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**known, "PYTHONPATH": path, "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"},
    )
    try:
        async with asyncio.timeout(_WALL_SECONDS):
            said, _ = await process.communicate(template.encode("utf-8", "replace"))
    except TimeoutError:
        raise StartError("the chat template could not be tried in time") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not said:
        raise StartError(
            "the chat template crashes the engine, or takes more than "
            f"{cpu_seconds:g} s or {trial_child.ADDRESS_SPACE // 2**20} MB to render one message; "
            f"{_WAY_OUT}"
        )
    if (error := json.loads(said)["error"]) is not None:
        raise StartError(f"the chat template fails for every conversation: {error}; {_WAY_OUT}")


def _verdict(template: str, folder: Path, output: BinaryIO) -> str | None:
    """Return why no conversation can be rendered; None if one can."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(WEIGHTS)
    params.chat_template = template
    params.n_parallel = 1
    params.n_ctx = 4096
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.fit_params = False
    params.cache_ram_mib = 0
    params.warmup = False
    params.verbosity = 1  # errors only; one of them has the reason
    params.hostnames = [str(folder / "template.sock")]
    params.ui = False
    params.n_threads_http = 1
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        time.sleep(0.2)  # a thread that cannot be joined writes the log
        output.seek(0)
        said = output.read().decode("utf-8", "replace")
        return sentence(said) or str(error)
    errors = [_tried(server, messages) for messages in _CONVERSATIONS]
    return errors[0] if None not in errors else None


def _tried(server: Any, messages: list[dict[str, str]]) -> str | None:
    """Return why the template cannot render the messages; None if it can."""
    # The first chunk comes before the prompt is read, and the callback then ends the request.
    request = {"messages": messages, "max_tokens": 1, "stream": True, "return_progress": True}
    try:
        server.handle_chat_completions(json.dumps(request), lambda chunk: True)
    except (ValueError, RuntimeError) as error:
        return sentence(str(error))
    return None


def main() -> None:
    """Read a template, and write the verdict."""
    trial_child.limit()
    template = sys.stdin.buffer.read().decode()
    sink = os.fdopen(os.dup(1), "wb")
    folder = Path(tempfile.mkdtemp(prefix="sluice-template-"))
    with tempfile.TemporaryFile(mode="a+b") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        signal.setitimer(signal.ITIMER_PROF, float(sys.argv[1]))  # its signal ends the process
        try:
            error = _verdict(template, folder, output)
        finally:
            shutil.rmtree(folder)
        sink.write(json.dumps({"error": error}).encode())
        sink.flush()
    os._exit(0)  # llama.cpp need not be shut down in order


if __name__ == "__main__":
    main()
