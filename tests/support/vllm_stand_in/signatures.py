"""What the vLLM engine uses of vLLM, read from vLLM's source without importing it.

    python -m tests.support.vllm_stand_in.signatures
    python -m tests.support.vllm_stand_in.signatures --check [FOLDER]

The first reads the pinned wheel and writes signatures.json. The second compares that file with an
installed vLLM, or with a folder that has its source.

The file is committed with the wheel's version and hash, and the stand-in is held against it.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("signatures.json")
ENGINE = Path(__file__).parents[3] / "model" / "engines" / "vllm.py"
PLATFORM = "manylinux_2_28_x86_64"

_OPENAI = "vllm.entrypoints.openai.chat_completion"
# Module -> class -> methods and properties. The fields, values and bases of every class are also
# taken.
USED: dict[str, dict[str, tuple[str, ...]]] = {
    "vllm.engine.arg_utils": {"EngineArgs": (), "AsyncEngineArgs": ()},
    "vllm.v1.engine.async_llm": {
        "AsyncLLM": ("from_engine_args", "generate", "abort", "check_health", "shutdown", "errored")
    },
    "vllm.sampling_params": {
        "SamplingParams": ("from_optional",),
        "StructuredOutputsParams": (),
        "RequestOutputKind": (),
    },
    "vllm.outputs": {"RequestOutput": ("__init__",), "CompletionOutput": ()},
    "vllm.logprobs": {"Logprob": ()},
    "vllm.inputs.engine": {"TokensInput": ()},
    "vllm.lora.request": {"LoRARequest": ()},
    "vllm.platforms.cuda": {"CudaPlatformBase": ("device_count",)},
    "vllm.config.model": {"ModelConfig": ("get_diff_sampling_param",)},
    "vllm.renderers.online_renderer": {
        "OnlineRenderer": ("__init__", "render_chat", "effective_chat_template_kwargs")
    },
    "vllm.parser.parser_manager": {
        "ParserManager": ("get_parser", "get_tool_parser", "get_reasoning_parser")
    },
    "vllm.parser.abstract_parser": {
        "Parser": ("__init__", "parse_delta", "is_reasoning_end", "reasoning_parser")
    },
    f"{_OPENAI}.protocol": {
        "ChatCompletionRequest": ("to_sampling_params", "resolve_reasoning_ended")
    },
    f"{_OPENAI}.stream_processor": {
        "ChatStreamProcessor": ("__init__", "step"),
        "ChatStreamStep": (),
    },
    "vllm.entrypoints.generate.base.protocol": {
        "DeltaMessage": (),
        "DeltaToolCall": (),
        "DeltaFunctionCall": (),
    },
    "vllm.entrypoints.serve.engine.protocol": {"ErrorResponse": (), "ErrorInfo": ()},
    "vllm.exceptions": {
        "VLLMError": (),
        "VLLMClientError": (),
        "VLLMServerError": (),
        "VLLMValidationError": ("__init__",),
        "GracefulHTTPError": ("__init__",),
        "GenerationError": (),
    },
    "vllm.v1.engine.exceptions": {"EngineGenerateError": (), "EngineDeadError": ()},
}
Read = Callable[[str], str]


def signatures(read: Read) -> dict[str, Any]:
    """Return the signatures of all of USED.

    `read` returns the source of a module.

    Raises:
        LookupError: a class or method does not exist.

    """
    found: dict[str, Any] = {}
    for module, classes in USED.items():
        bodies = {
            node.name: node
            for node in ast.parse(read(module)).body
            if isinstance(node, ast.ClassDef)
        }
        for name, methods in classes.items():
            if name not in bodies:
                raise LookupError(f"{module} has no class {name}")
            found[f"{module}.{name}"] = _class(bodies[name], methods)
    return found


def _class(node: ast.ClassDef, methods: tuple[str, ...]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for item in node.body:
        if (
            isinstance(item, ast.AnnAssign)
            and isinstance(item.target, ast.Name)
            and not item.target.id.startswith("_")
        ):
            fields[item.target.id] = {"required": item.value is None}
        elif isinstance(item, ast.Assign) and isinstance(item.value, ast.Constant):
            fields.update(
                {
                    target.id: {"value": item.value.value}
                    for target in item.targets
                    if isinstance(target, ast.Name)
                }
            )
    functions = {
        item.name: item
        for item in node.body
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    found: dict[str, Any] = {
        "bases": [ast.unparse(base) for base in node.bases],
        "fields": fields,
        "methods": {},
    }
    if "__init__" in functions:
        found["attributes"] = _attributes(functions["__init__"])
    for name in methods:
        if name not in functions:
            raise LookupError(f"{node.name} has no method {name}")
        found["methods"][name] = _function(functions[name])
    return found


def _attributes(node: ast.AST) -> list[str]:
    """Return the names of the attributes that are assigned to `self`."""
    return sorted(
        {
            item.attr
            for item in ast.walk(node)
            if isinstance(item, ast.Attribute)
            and isinstance(item.ctx, ast.Store)
            and isinstance(item.value, ast.Name)
            and item.value.id == "self"
            and not item.attr.startswith("_")
        }
    )


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Any]:
    given, parameters = node.args, []
    plain = [*given.posonlyargs, *given.args]
    first_default = len(plain) - len(given.defaults)
    for place, argument in enumerate(plain):
        parameters.append(
            {"name": argument.arg, "kind": "positional", "required": place < first_default}
        )
    if given.vararg:
        parameters.append({"name": given.vararg.arg, "kind": "var_positional", "required": False})
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        parameters.append({"name": argument.arg, "kind": "keyword", "required": default is None})
    if given.kwarg:
        parameters.append({"name": given.kwarg.arg, "kind": "var_keyword", "required": False})
    decorators = [ast.unparse(item) for item in node.decorator_list]
    yields = any(isinstance(item, ast.Yield) for item in ast.walk(node))
    kind = (
        "property"
        if "property" in decorators
        else "async"
        if isinstance(node, ast.AsyncFunctionDef)
        else "plain"
    )
    return {
        "kind": "async generator" if kind == "async" and yields else kind,
        "parameters": parameters,
    }


def pinned_version() -> str:
    """Return the vLLM version that the engine is made for."""
    found = re.search(r'^VLLM_VERSION = "([0-9.]+)"$', ENGINE.read_text(), re.MULTILINE)
    assert found is not None
    return found.group(1)


def _of_folder(folder: Path) -> Read:
    return lambda module: folder.joinpath(*module.split(".")[1:]).with_suffix(".py").read_text()


def _of_wheel(wheel: Path) -> Read:
    archive = zipfile.ZipFile(wheel)
    return lambda module: archive.read(module.replace(".", "/") + ".py").decode()


def download(folder: Path, version: str) -> Path:
    """Return the pinned wheel, about 340 MB, from the configured package index.

    Nothing of it is installed or run.
    """
    options = [
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--python-version=3.12",
    ]
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        *options,
        f"--platform={PLATFORM}",
        f"--dest={folder}",
    ]
    subprocess.run([*command, f"vllm=={version}"], check=True)
    (wheel,) = folder.glob("vllm-*.whl")
    return wheel


def main() -> int:
    """Write the file, or compare with it. Return the exit status, which is 1 if they differ."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--check", nargs="?", const="", metavar="FOLDER", help="compare instead of writing"
    )
    given = parser.parse_args()
    if given.check is None:
        with tempfile.TemporaryDirectory() as folder:
            wheel = download(Path(folder), pinned_version())
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            content = {"version": pinned_version(), "wheel": wheel.name, "sha256": digest}
            FILE.write_text(
                json.dumps({**content, "classes": signatures(_of_wheel(wheel))}, indent=1) + "\n"
            )
        print(f"{FILE.name}: vLLM {content['version']}, sha256 {digest}")
        return 0
    installed = importlib.util.find_spec("vllm") if not given.check else None
    folder_of = Path(
        given.check or (installed and installed.origin and Path(installed.origin).parent) or ""
    )
    here, there = json.loads(FILE.read_text())["classes"], signatures(_of_folder(folder_of))
    different = [name for name in here if here[name] != there[name]]
    print("\n".join(f"differs: {name}" for name in different) or f"{folder_of}: nothing differs")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
