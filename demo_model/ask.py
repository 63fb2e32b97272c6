"""Ask a demo model the conversations in `asked.txt`, greedily, and print what it says.

``.venv/bin/python -m demo_model.ask [GGUF]``. The turns of a conversation stand on one line with ``
|| `` between them. Most wordings are not among those that were taught.
"""

import secrets
import sys
from pathlib import Path

import xllamacpp

_HERE = Path(__file__).parent
WEIGHTS = _HERE / "weights" / "sluice-demo.gguf"


def load(path: Path) -> xllamacpp.Server:
    """Return the engine with the model, ready to answer one request at a time."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = 4096
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    # The engine always opens a listener: here on loopback, with a random key.
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [secrets.token_hex(16)]
    server = xllamacpp.Server(parameters)
    # a server that has answered nothing may hang when it is destroyed
    answer(server, [{"role": "user", "content": "Hello"}], limit=1)
    return server


def answer(server: xllamacpp.Server, messages: list[dict[str, str]], limit: int = 500) -> str:
    """Return the greedy answer to `messages`."""
    request = {"messages": messages, "temperature": 0.0, "max_tokens": limit}
    reply = server.handle_chat_completions(request)
    if "error" in reply:
        raise RuntimeError(reply["error"])
    return reply["choices"][0]["message"]["content"]


def main(path: Path) -> None:
    """Print every conversation with its answers."""
    server = load(path)
    for line in (_HERE / "asked.txt").read_text(encoding="utf-8").splitlines():
        messages: list[dict[str, str]] = []
        for turn in line.split(" || "):
            messages.append({"role": "user", "content": turn})
            messages.append({"role": "assistant", "content": answer(server, messages)})
            print(f"> {turn}\n{messages[-1]['content']}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else WEIGHTS)
