"""Checks that a folder holds a complete Hugging Face model, by reading headers only.

vLLM reports such problems in the log of another process, under a stack trace, after it has taken
the GPU's memory.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from model.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

_MOST_HEADER = 100_000_000  # in bytes, the limit of the format


def check(folder: Path) -> None:
    """Raise StartError that names what is missing, truncated or corrupt."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as error:
        raise StartError(f"{folder}: {error.strerror}") from None
    if "config.json" not in names and "params.json" not in names:
        raise StartError(f"{folder}: no config.json: this is no Hugging Face model")
    if "config.json" in names:
        _json(folder / "config.json")
    wanted = {name for name in names if name.endswith(".safetensors")}
    if "model.safetensors.index.json" in names:
        wanted |= set(_json(folder / "model.safetensors.index.json").get("weight_map", {}).values())
    if missing := sorted(wanted - names):
        raise StartError(
            f"{folder}: {', '.join(missing[:3])} missing, which the index of the weights names"
        )
    if not wanted and not any(name.endswith((".bin", ".pt", ".gguf")) for name in names):
        raise StartError(f"{folder}: no weights (*.safetensors)")
    for name in sorted(wanted):
        _check_tensors(folder / name)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StartError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(value, dict):
        raise StartError(f"{path}: not a JSON object")
    return value


def _check_tensors(path: Path) -> None:
    """Raise StartError for a safetensors file that is truncated or corrupt.

    The file has eight bytes of length, a JSON header, and the data at the places in the header. It
    has nothing else.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = (
                json.loads(file.read(length))
                if 2 <= length <= min(size - 8, _MOST_HEADER)
                else None
            )
    except (OSError, ValueError):
        header = None
    if not isinstance(header, dict):
        raise StartError(f"{path}: corrupt, or not a safetensors file")
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        raise StartError(
            f"{path}: {size} bytes, where its header says {whole}: truncated or corrupt"
        )
