"""Record what a real vLLM answers, for the tests of the decoder: `make vllm-recordings`.

    python -m tests.vllm.record FOLDER [NAME ...]

FOLDER has an environment with vLLM in `env/`, and the weights in `plain/` and `thinking/`. Each
recording is a JSON object: the server with its version and arguments, the request, and the answer,
whose body is the bytes as UTF-8 text.
"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RECORDINGS = Path(__file__).parents[1] / "lambda_fn" / "dialects" / "recordings"
_STARTUP_SECONDS = 1800
_ARGUMENTS = {
    "plain": {"SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "", "SM_VLLM_TOOL_CALL_PARSER": "hermes"},
    "thinking": {"SM_VLLM_REASONING_PARSER": "deepseek_r1"},
}
_STREAM = {
    "stream": True,
    "stream_options": {"include_usage": True, "continuous_usage_stats": True},
}
_STORY = "Tell me a story about a fox."
_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_TIME = {
    "type": "function",
    "function": {
        "name": "get_time",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string", "maxLength": 8}},
            "required": ["zone"],
        },
    },
}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}


_PERSON = _form(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)
_TOOLS = {"tools": [_WEATHER, _TIME], "max_tokens": 80}
_NAMED = {"type": "function", "function": {"name": "get_time"}}
_SUM, _ROME, _HELLO = "What is 17 + 5?", "What is the weather in Rome?", "Hello"
# Name -> the question, and the other members of the body. They are sent to /invocations, as
# SageMaker does, which ignores the model's name and takes a chat that it cannot read for a
# completion. A name that ends in -direct is asked at /v1/chat/completions.
PLAIN: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": (_SUM, {}),
    "stop": ("Count to ten", {"stop": [" 5", "zzz"]}),
    "n2": (_STORY, {"n": 2, "temperature": 1, "seed": 1, "max_tokens": 12}),
    "logprobs": (_SUM, {"logprobs": True, "top_logprobs": 2}),
    "tools-auto": (_ROME, {**_TOOLS, "tool_choice": "auto"}),
    "tools-auto-text": (_HELLO, {**_TOOLS, "tool_choice": "auto", "max_tokens": 40}),
    "tools-required": (_ROME, {**_TOOLS, "tool_choice": "required"}),
    "tools-named": (_ROME, {**_TOOLS, "tool_choice": _NAMED}),
    "tools-n2": (_ROME, {**_TOOLS, "tool_choice": "required", "temperature": 0.5, "n": 2}),
    "json-schema": ("Give me a JSON object with name and age", {"response_format": _PERSON}),
    "unicode": ("Say it.", {"response_format": _form({"const": "Grüße an 🚰👩‍💻"})}),
    "length": (_STORY, {"max_tokens": 5}),
    "length-1": (_HELLO, {"max_tokens": 1}),
    "logit-bias": (_HELLO, {"logit_bias": {"2": 100}, "max_tokens": 5}),
    "greedy-n2": (_SUM, {"n": 2, "temperature": 0.01, "top_k": 1}),
    "bad-context": ("word " * 3000, {}),
    "bad-limit": (_HELLO, {"max_tokens": 100_000}),
    "bad-temperature": (_HELLO, {"temperature": -1}),
    "bad-messages": (_HELLO, {"messages": "Hello"}),
    "bad-schema": (_HELLO, {"response_format": _form({"type": "nonsense"})}),
    "bad-pattern": (
        _HELLO,
        {"response_format": _form({"type": "string", "pattern": "(?<=a)("})},
    ),
    "bad-greedy-n2": (_HELLO, {"n": 2}),
    "other-model": (_HELLO, {"model": "nope"}),
    "bad-model-direct": (_HELLO, {"model": "nope"}),
    "bad-messages-direct": (_HELLO, {"model": "demo", "messages": "Hello"}),
    "bad-tools": (_HELLO, {"tools": []}),
}
WHOLE = ("plain", "tools-auto", "tools-named", "tools-n2", "bad-schema")
"""What is recorded without a stream too."""
THINKING = {
    "reasoning": ("What is streaming?", {}),
    "reasoning-length": (_STORY, {"max_tokens": 9}),
}


class Server:
    """vLLM's server with one of the models."""

    def __init__(self, folder: Path, kind: str) -> None:
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            self.port = held.getsockname()[1]
        self.arguments = {
            "SM_VLLM_MODEL": kind,
            "SM_VLLM_SERVED_MODEL_NAME": "demo",
            "SM_VLLM_MAX_MODEL_LEN": "2048",
            "SM_VLLM_MAX_NUM_SEQS": "8",
            **_ARGUMENTS[kind],
        }
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [folder / "env" / "bin" / "python", Path(__file__).with_name("serve.py"), "serve"],
            env={
                "PATH": os.defpath,
                "HOME": str(folder),
                "SAGEMAKER_BIND_TO_PORT": str(self.port),
                "SLUICE_MODEL_DIR": str(folder / kind),
                **self.arguments,
            },
            stdout=self._log,
            stderr=self._log,
        )
        ends = time.monotonic() + _STARTUP_SECONDS
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > ends:
                self.close()
                raise SystemExit(f"vLLM does not start; its log is {self._log.name}")
            time.sleep(0.5)
        self.version = json.loads(self.ask("GET", "/version", b"")[2])["version"]

    def _is_up(self) -> bool:
        try:
            return self.ask("GET", "/ping", b"")[0] == 200
        except OSError:
            return False

    def ask(self, method: str, path: str, body: bytes) -> tuple[int, str, str]:
        """Return the status, the content type and the body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.getheader("content-type", ""), answer.read().decode()

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait(60)
        self._log.close()


def main(folder: Path, names: list[str]) -> None:
    """Record everything, or what is named."""
    for kind, asked in (("plain", PLAIN), ("thinking", THINKING)):
        wanted = {name: it for name, it in asked.items() if not names or name in names}
        if not wanted:
            continue
        server = Server(folder, kind)
        try:
            out = RECORDINGS / f"vllm-{server.version}"
            out.mkdir(exist_ok=True)
            for name, (question, more) in wanted.items():
                whole = kind == "thinking" or name in WHOLE
                for suffix, form in (("stream", _STREAM), ("whole", {}))[: 2 if whole else 1]:
                    messages = [{"role": "user", "content": question}]
                    request = {"messages": messages, "temperature": 0, **more, **form}
                    began = time.monotonic()
                    path = "/v1/chat/completions" if name.endswith("-direct") else "/invocations"
                    status, content_type, body = server.ask(
                        "POST", path, json.dumps(request).encode()
                    )
                    took = time.monotonic() - began
                    print(f"{name}.{suffix}: {status}, {len(body)} bytes, {took:.1f} s", flush=True)
                    recording = {
                        "server": f"vllm {server.version}",
                        "settings": server.arguments,
                        "path": path,
                        "request": request,
                        "status": status,
                        "content_type": content_type,
                        "body": body,
                    }
                    text = json.dumps(recording, ensure_ascii=False, indent=1)
                    (out / f"{name}.{suffix}.json").write_text(text + "\n", encoding="utf-8")
        finally:
            server.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2:])
