"""Translates the container's settings into vLLM's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from vllm.engine.arg_utils import AsyncEngineArgs

from model.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from model.settings import Settings


def engine_arguments(settings: Settings, gpus: int, folder: Path | None = None) -> dict[str, Any]:
    """Return the fields of AsyncEngineArgs that the settings determine.

    `folder` is the model's, if it is not `SLUICE_MODEL_DIR` itself.

    Raises StartError for an unknown field.
    """
    arguments: dict[str, Any] = {
        "model": settings.model_id or str(folder or settings.model_dir),
        "max_model_len": settings.context_tokens,
        "max_num_seqs": settings.parallel,
        "tensor_parallel_size": settings.tensor_parallel or max(1, gpus),
        "gpu_memory_utilization": settings.gpu_memory,
        "enable_prefix_caching": settings.prefix_caching,
        "dtype": settings.dtype,
        "kv_cache_dtype": settings.kv_cache_dtype,
        "quantization": settings.quantization,
        "revision": settings.model_revision,
        "trust_remote_code": settings.trust_remote_code,
        "reasoning_parser": settings.reasoning_parser or "",
        "enable_log_requests": False,  # its log would quote prompts
    }
    if settings.max_images:
        arguments["limit_mm_per_prompt"] = {"image": settings.max_images}
    if settings.lora_adapters:
        arguments |= {
            "enable_lora": True,
            "max_loras": len(settings.lora_adapters),
            "max_lora_rank": int(settings.lora_rank),
        }
    known = {item.name for item in dataclasses.fields(AsyncEngineArgs)}
    for name in settings.vllm_args or {}:
        if name in arguments:
            raise StartError(f"SLUICE_VLLM_ARGS: {name} has its own setting; use that instead")
        if name not in known:
            raise StartError(f"SLUICE_VLLM_ARGS: vLLM has no argument {name}")
    return arguments | dict(settings.vllm_args or {})
