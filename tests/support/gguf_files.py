"""Writes real GGUF files, made of the demo model's: split, with other metadata, or without tensors.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md has the format.
"""

from __future__ import annotations

import functools
import struct
from typing import TYPE_CHECKING, NamedTuple

from demo_model import WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_ALIGNMENT = 32
_UINT16, _UINT32, _INT32, _STRING, _ARRAY = 2, 4, 5, 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
Value = str | int | None


class Tensor(NamedTuple):
    """A tensor: its entry in the file's table without its place, and its data."""

    entry: bytes
    data: bytes


def text(value: str) -> bytes:
    """Return a text as the format has it."""
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


@functools.cache
def demo() -> tuple[dict[str, bytes], tuple[Tensor, ...]]:
    """Return the demo model's metadata, each value with its type, and its tensors."""
    data = WEIGHTS.read_bytes()
    tensors, keys = struct.unpack_from("<QQ", data, 8)
    at = 24

    def size_of(kind: int, at: int) -> int:
        if kind == _STRING:
            return 8 + int(struct.unpack_from("<Q", data, at)[0])
        if kind == _ARRAY:
            item, count = struct.unpack_from("<IQ", data, at)
            size = 12
            for _ in range(count):
                size += size_of(item, at + size)
            return size
        return _SIZES[kind]

    def string(at: int) -> tuple[str, int]:
        (size,) = struct.unpack_from("<Q", data, at)
        return data[at + 8 : at + 8 + size].decode(), at + 8 + size

    metadata = {}
    for _ in range(keys):
        key, at = string(at)
        end = at + 4 + size_of(struct.unpack_from("<I", data, at)[0], at + 4)
        metadata[key] = data[at:end]
        at = end
    entries, places = [], []
    for _ in range(tensors):
        start = at
        _, at = string(at)
        (dimensions,) = struct.unpack_from("<I", data, at)
        at += 4 + 8 * dimensions + 4
        entries.append(data[start:at])
        places.append(struct.unpack_from("<Q", data, at)[0])
        at += 8
    base = -(-at // _ALIGNMENT) * _ALIGNMENT
    ends = [*sorted(places)[1:], len(data) - base]
    end_of = dict(zip(sorted(places), ends, strict=True))
    return metadata, tuple(
        Tensor(entry, data[base + place : base + end_of[place]])
        for entry, place in zip(entries, places, strict=True)
    )


def tokens() -> list[str]:
    """Return the demo model's vocabulary in order."""
    data = demo()[0]["tokenizer.ggml.tokens"]
    found, at = [], 16  # after the value's type, the items' type and their number
    while at < len(data):
        (size,) = struct.unpack_from("<Q", data, at)
        found.append(data[at + 8 : at + 8 + size].decode())
        at += 8 + size
    return found


def write(
    path: Path,
    changes: Mapping[str, Value] | None = None,
    tensors: Sequence[Tensor] | None = None,
    *,
    typed: Mapping[str, bytes] | None = None,
) -> Path:
    """Write the demo model with other metadata; None removes a key. Return the path."""
    metadata, all_tensors = demo()
    metadata = dict(metadata)
    for key, value in (changes or {}).items():
        if value is None:
            metadata.pop(key, None)
        elif isinstance(value, str):
            metadata[key] = struct.pack("<I", _STRING) + text(value)
        else:
            metadata[key] = struct.pack("<II", _UINT32, value)
    metadata |= typed or {}
    table, body = [], bytearray()
    chosen = all_tensors if tensors is None else tensors
    for tensor in chosen:
        body += bytes(-len(body) % _ALIGNMENT)
        table.append(tensor.entry + struct.pack("<Q", len(body)))
        body += tensor.data
    head = b"GGUF" + struct.pack("<IQQ", 3, len(chosen), len(metadata))
    head += b"".join(text(key) + value for key, value in metadata.items()) + b"".join(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + bytes(-len(head) % _ALIGNMENT) + body)
    return path


def split(folder: Path, count: int = 3, name: str = "demo-{:05}-of-{:05}.gguf") -> list[Path]:
    """Write the demo model in parts, as `llama-gguf-split` does. Return their paths in order."""
    _, tensors = demo()
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(count):
        typed = {
            "split.no": struct.pack("<IH", _UINT16, number),
            "split.count": struct.pack("<IH", _UINT16, count),
            "split.tensors.count": struct.pack("<Ii", _INT32, len(tensors)),
        }
        path = folder / name.format(number + 1, count)
        first, last = len(tensors) * number // count, len(tensors) * (number + 1) // count
        if number:
            _write_part(path, typed, tensors[first:last])
        else:
            write(path, None, tensors[first:last], typed=typed)
        paths.append(path)
    return paths


def _write_part(path: Path, typed: Mapping[str, bytes], tensors: Sequence[Tensor]) -> None:
    """Write a part after the first, which has no metadata but its place."""
    metadata, _ = demo()
    write(path, dict.fromkeys(metadata), tensors, typed=typed)
