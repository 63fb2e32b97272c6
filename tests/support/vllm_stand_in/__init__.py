"""A stand-in for the part of vLLM that the engine uses, for machines without a GPU.

Its signatures, fields and errors are those of the pinned version, from `signatures.json`. Rules
decide what a model would decide (`sequence.py`).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from tests.support.vllm_stand_in import chat, llm, values

if TYPE_CHECKING:
    from pathlib import Path

VERSION = "0.33.0"
INSTALLED = importlib.util.find_spec("vllm") is not None
REAL_MODEL = os.environ.get("SLUICE_TEST_REAL_MODEL")
"""The folder of a model that an installed vLLM samples itself, without any stand-in."""
_OPENAI = "vllm.entrypoints.openai.chat_completion"
_CONTENT: dict[str, dict[str, Any]] = {
    "vllm": {"__version__": VERSION},
    "vllm.engine.arg_utils": {"AsyncEngineArgs": values.AsyncEngineArgs},
    "vllm.exceptions": {
        name: getattr(values, name)
        for name in (
            "GenerationError",
            "GracefulHTTPError",
            "VLLMClientError",
            "VLLMError",
            "VLLMValidationError",
        )
    },
    "vllm.lora.request": {"LoRARequest": values.LoRARequest},
    "vllm.platforms": {"current_platform": SimpleNamespace(device_count=lambda: 4)},
    "vllm.renderers.online_renderer": {"OnlineRenderer": chat.OnlineRenderer},
    "vllm.v1.engine.async_llm": {"AsyncLLM": llm.AsyncLLM},
    "vllm.v1.engine.exceptions": {
        "EngineDeadError": values.EngineDeadError,
        "EngineGenerateError": values.EngineGenerateError,
    },
    f"{_OPENAI}.protocol": {"ChatCompletionRequest": chat.ChatCompletionRequest},
    f"{_OPENAI}.stream_processor": {"ChatStreamProcessor": chat.ChatStreamProcessor},
}


def install() -> None:
    """Install the stand-in for vLLM. If a vLLM is installed, replace only its core.

    With `REAL_MODEL`, nothing is replaced.
    """
    if not INSTALLED:
        sys.modules.update(modules())
    elif REAL_MODEL is None:
        importlib.import_module("tests.support.vllm_stand_in.core").install()


def modules() -> dict[str, ModuleType]:
    """Return the entries of `sys.modules` for the stand-in, packages included."""
    made: dict[str, ModuleType] = {}
    for name, content in _CONTENT.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            if path not in made:
                made[path] = ModuleType(path)
                made[path].__path__ = []
        made[name].__dict__.update(content)
    return made


def make_model(folder: Path) -> None:
    """Write a model's files except its weights.

    For the stand-in that is next to nothing, for vLLM a real tokenizer.
    """
    if not INSTALLED:
        (folder / "config.json").write_text('{"model_type": "llama"}')
        (folder / "tokenizer.json").write_text("{}")
    else:
        importlib.import_module("tests.support.vllm_stand_in.core").make_model(folder)
