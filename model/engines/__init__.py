"""The engines of the container. Only the one that the settings name is imported."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from model.errors import StartError
from model.settings import ENGINES

if TYPE_CHECKING:
    from model.engines.base import Engine
    from model.settings import Settings


def create(settings: Settings) -> Engine:
    """Return the engine that the settings name, not started.

    Raises StartError if it cannot be imported.
    """
    module, _, name = ENGINES[settings.engine].partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise StartError(f"the engine {settings.engine} cannot be imported: {error}") from error
    engine: Engine = factory(settings)
    return engine
