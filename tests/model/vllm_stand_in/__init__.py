"""A stand-in of the part of vLLM that the engine uses, for machines without a GPU.

Its signatures, fields and errors are those of the pinned version, which `signatures.json` holds; what would need
a model is decided by rules (`sequence.py`).
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any

from tests.model.vllm_stand_in import chat, llm, values

VERSION = "0.33.0"
_OPENAI = "vllm.entrypoints.openai.chat_completion"
_CONTENT: dict[str, dict[str, Any]] = {
    "vllm": {"__version__": VERSION},
    "vllm.engine.arg_utils": {"AsyncEngineArgs": values.AsyncEngineArgs},
    "vllm.exceptions": {
        name: getattr(values, name)
        for name in ("GenerationError", "GracefulHTTPError", "VLLMClientError", "VLLMError", "VLLMValidationError")
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


def modules() -> dict[str, ModuleType]:
    """What goes into `sys.modules`, packages included."""
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
