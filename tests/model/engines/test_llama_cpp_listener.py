"""llama.cpp's listener: what it refuses or does not answer is the engine's failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from model.engines.llama_cpp_listener import ask_listener
from model.errors import EngineError
from tests.support.model import settings_for, started

if TYPE_CHECKING:
    from pathlib import Path


async def test_the_listener(tmp_path: Path) -> None:
    """It answers with the secret only, on a socket that nobody else may use."""
    engine: Any
    async with started(settings_for("llama_cpp")) as engine:
        path, secret = engine._socket, engine._secret
        assert ask_listener(path, secret, "/tokenize", {"content": ""}) == {"tokens": []}
        with pytest.raises(EngineError, match="with 401"):
            ask_listener(path, "wrong", "/tokenize", {"content": "a"})
    with pytest.raises(EngineError, match="did not answer"):
        ask_listener(str(tmp_path / "none.sock"), "", "/tokenize", {"content": "a"})
