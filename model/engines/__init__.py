"""The engines there are, by name. Only the one that is used is imported."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from model.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from model.engines.base import Engine
    from model.settings import Settings

ENGINES: Mapping[str, str] = {
    "llama_cpp": "model.engines.llama_cpp:LlamaCppEngine",
    "scripted": "model.engines.scripted:ScriptedEngine",
    "vllm": "model.engines.vllm:VllmEngine",
}


def create(settings: Settings) -> Engine:
    """The engine that the settings name, not started. Raises StartError if what it needs is not installed."""
    module, _, name = ENGINES[settings.engine].partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise StartError(f"the engine {settings.engine} cannot be imported: {error}") from error
    engine: Engine = factory(settings)
    return engine
