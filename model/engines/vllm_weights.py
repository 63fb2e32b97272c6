"""Checks that a folder holds a complete Hugging Face model, by reading headers only.

vLLM reports such problems in the log of another process, under a stack trace, after it has taken
the GPU's memory.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from model import weights
from model.errors import StartError
from model.gguf import AGAIN, foreign

if TYPE_CHECKING:
    from pathlib import Path

_POINTER_BYTES = 1024  # a pointer of Git LFS has about 130
_MOST_HEADER = 100_000_000  # in bytes, the limit of the format


def find(place: Path) -> Path:
    """Return the folder of the one model below `place`, which may be a snapshot of a cache.

    Raises StartError that names what is missing, truncated or corrupt.
    """
    model = weights.find_hugging_face(weights.files_in(place), str(place))
    folder, names = place / model.folder, model.names
    for name in sorted(names):
        _check_pointer(folder / name)
    if "config.json" in names:
        _json(folder / "config.json")
    weights.check_hugging_face(names, str(folder))
    wanted = {name for name in names if name.endswith(".safetensors")}
    if "model.safetensors.index.json" in names:
        wanted |= _indexed(folder / "model.safetensors.index.json")
    needed = set(wanted)
    if not wanted and "pytorch_model.bin.index.json" in names:
        needed = _indexed(folder / "pytorch_model.bin.index.json")
    if missing := sorted(name for name in needed if not (folder / name).is_file()):
        raise StartError(
            f"{folder}: {', '.join(missing[:3])} missing, which the index of the weights names"
        )
    for name in sorted(wanted):
        _check_tensors(folder / name)
    weights.check_tokenizer(names, str(folder))
    return folder


def _check_pointer(path: Path) -> None:
    """Raise StartError for a file that only stands for another, such as a pointer of Git LFS."""
    try:
        if path.stat().st_size > _POINTER_BYTES:
            return
        first = path.read_bytes()
    except OSError as error:
        raise StartError(f"{path}: {error.strerror}") from None
    if first.startswith(b"version https://git-lfs"):
        raise StartError(f"{path}: the file is {foreign(first)}")


def _indexed(path: Path) -> set[str]:
    """Return the files that an index names."""
    files = _json(path).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(name, str) for name in files.values()):
        raise StartError(f"{path}: corrupt: it has no weight_map of files")
    return set(files.values())


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
        raise StartError(f"{path}: corrupt, or not a safetensors file; {AGAIN}")
    try:
        ends = [
            int(tensor["data_offsets"][1])
            for name, tensor in header.items()
            if name != "__metadata__"
        ]
    except (TypeError, KeyError, IndexError, ValueError):
        raise StartError(f"{path}: corrupt: its header has a tensor without a place") from None
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        raise StartError(
            f"{path}: {size:,} bytes, where its header says {whole:,}: truncated or corrupt; "
            f"{AGAIN}"
        )
