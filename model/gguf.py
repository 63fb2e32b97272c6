"""Reads the metadata of a GGUF file: its kind, which part of a split model it is, and its size.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Only the metadata and the
table of tensors are read, never a tensor, and nothing is trusted: a length that leads out of the
file is an error.
"""

from __future__ import annotations

import math
import mmap
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAGIC = b"GGUF"
_MAX_METADATA = 128 * 2**20
"""Bytes in which the metadata must end. A vocabulary of 250,000 tokens takes 12 MB."""
_MAX_KEYS = _MAX_TENSORS = 65_536
_MAX_STRINGS = 2**21
"""Strings of one array, such as a vocabulary, each of which takes time to skip."""
_MAX_DIMENSIONS = 4
_ALIGNMENT = 32
"""Bytes of which the tensors begin at a multiple, unless the metadata says otherwise."""
_MAX_PARTS = _MAX_ALIGNMENT = 65_536
_MAX_END = 2**63 - 1
"""The last byte that a file can have."""
AGAIN = "compare its size with that at its source, and download it again"
"""What to do about a file that is not whole."""
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110),
    22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
    29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
"""The numbers of tensor types: how many elements a block has, and how many bytes (ggml.h and
ggml-common.h). Of a type that is not here, only the begin of a tensor is checked.
"""
_STRING, _ARRAY = 8, 9
_FORMATS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q",
    12: "<d",
}  # fmt: skip
"""The numbers of value types, and how `struct` reads them."""
_INTEGERS = {"<B", "<b", "<H", "<h", "<I", "<i", "<Q", "<q"}
_WANTED = {
    "general.type",
    "general.architecture",
    "tokenizer.ggml.model",
    "tokenizer.chat_template",
    "split.no",
    "split.count",
    "general.alignment",
}
_NUMBERS = {"split.no", "split.count", "general.alignment"}
"""Those of them that are whole numbers."""
_SHAPE = {
    "context_length", "block_count", "embedding_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length",
}  # fmt: skip
"""Keys that begin with the architecture's name."""
_OTHERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the weights: run `git lfs pull`"),
    (b"<!doctype html", "a web page: download the file itself"),
    (b"<html", "a web page: download the file itself"),
    (b"<?xml", "an XML answer of a server: download the file itself"),
    (b"PK\x03\x04", "a ZIP archive: unpack it"),
    (b"\x1f\x8b", "a gzip archive: unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive: unpack it"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"lmgg", "an older format (GGML): convert the model to GGUF"),
    (b"fmgg", "an older format (GGMF): convert the model to GGUF"),
    (b"tjgg", "an older format (GGJT): convert the model to GGUF"),
    (b"algg", "an older format (GGLA): convert the adapter to GGUF"),
)
"""The first bytes of other files that are found under the name of weights."""


class Head(NamedTuple):
    """The metadata. `part` counts from 0; a model that is not split has one part."""

    kind: str = "model"
    """`model`, `adapter`, `mmproj`, `imatrix` or `vocabulary`."""
    tokenizer: bool = True
    template: str | None = None
    """The chat template; None if there is none, or an empty one."""
    part: int = 0
    parts: int = 1
    context: int | None = None
    """The longest context that the model was made for, in tokens."""
    cache_bytes: int | None = None
    """The maximum number of bytes of one token of context in llama.cpp's cache."""


def foreign(first: bytes) -> str | None:
    """Return the kind of file that begins with these bytes, in words; None if it is unknown."""
    if not first:
        return "empty"
    start = first.lstrip().lower()
    for magic, what in _OTHERS:
        if first.startswith(magic) or start.startswith(magic):
            return what
    return None


def read_head(path: Path) -> Head:
    """Return the metadata of a file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a GGUF file, or a corrupt one. The text completes "the file is …".

    """
    with path.open("rb") as file:
        first = file.read(512)
        if not first.startswith(MAGIC):
            shown = first[:4].hex(" ")
            raise ValueError(
                foreign(first)
                or f"not a GGUF file (wrong magic: it begins with the bytes {shown}, not 47 47 55 46)"
            )
        if len(first) < 24:
            raise _corrupt("it ends within its first 24 bytes")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _head(_Reader(data))


def _corrupt(what: str) -> ValueError:
    return ValueError(f"corrupt: {what}; {AGAIN}")


class _Reader:
    """Reads values in order. Raises ValueError instead of leaving the file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.at = 4
        self.size = len(data)
        self._end = min(self.size, _MAX_METADATA)

    def number(self, form: str) -> Any:
        return struct.unpack(form, self.skip(struct.calcsize(form)))[0]

    def skip(self, size: int) -> bytes:
        at = self.at
        self.at += size
        if self.at > self._end:
            raise ValueError(f"corrupt or truncated: it ends within its metadata; {AGAIN}")
        return self._data[at : self.at] if size <= 8 else b""

    def string(self) -> str:
        size = self.number("<Q")
        at = self.at
        self.skip(size)
        return self._data[at : at + size].decode("utf-8", "replace")

    def skip_value(self, kind: int) -> None:
        if kind == _STRING:
            self.skip(self.number("<Q"))
        elif kind == _ARRAY:
            item, count = self.number("<I"), self.number("<Q")
            if item in _FORMATS:
                self.skip(struct.calcsize(_FORMATS[item]) * count)
            elif item == _STRING:
                if count > _MAX_STRINGS:
                    raise _corrupt(f"it has an array of {count:,} strings")
                for _ in range(count):
                    self.skip(self.number("<Q"))
            else:
                raise _corrupt("it has a nested array")
        else:
            self.number(self.form(kind))

    @staticmethod
    def form(kind: int) -> str:
        if kind not in _FORMATS:
            raise _corrupt("it has a value of an unknown type")
        return _FORMATS[kind]


def _head(reader: _Reader) -> Head:
    version = reader.number("<I")
    if version > 0xFFFF:
        raise ValueError("written for big-endian machines: convert it for little-endian ones")
    if version < 2:
        raise ValueError(f"of GGUF version {version}, which is too old: convert the model again")
    tensors, keys = reader.number("<Q"), reader.number("<Q")
    if keys > _MAX_KEYS:
        raise _corrupt(f"it claims to have {keys:,} keys")
    found: dict[str, Any] = {}
    for _ in range(keys):
        key, kind = reader.string(), reader.number("<I")
        if key in _NUMBERS and _FORMATS.get(kind) not in _INTEGERS:
            raise _corrupt(f"its {key} is not a whole number")
        if kind == _ARRAY or (key not in _WANTED and key.partition(".")[2] not in _SHAPE):
            reader.skip_value(kind)
        elif kind == _STRING:
            found[key] = reader.string()
        else:
            found[key] = reader.number(reader.form(kind))
    alignment = found.get("general.alignment", _ALIGNMENT)
    if not 0 < alignment <= _MAX_ALIGNMENT or alignment & (alignment - 1):
        raise _corrupt(
            f"its general.alignment is {alignment:,}, not a power of 2 up to {_MAX_ALIGNMENT:,}"
        )
    _check_tensors(reader, tensors, alignment)
    part, parts = found.get("split.no", 0), found.get("split.count", 1) or 1
    if not 0 <= part < parts <= _MAX_PARTS:
        raise _corrupt(f"its split.no is {part:,}, and its split.count is {parts:,}")
    said = str(found.get("general.type", "model"))
    kind_of = said if said in {"adapter", "mmproj", "imatrix"} else "model"
    if found.get("general.architecture") == "clip":
        kind_of = "mmproj"  # files of before 2025 have no general.type
    elif kind_of == "model" and tensors == 0 and parts == 1:
        kind_of = "vocabulary"
    template = found.get("tokenizer.chat_template")
    shape = {name: found.get(f"{found.get('general.architecture')}.{name}") for name in _SHAPE}
    numbers = {name: it for name, it in shape.items() if type(it) is int and it > 0}
    return Head(
        kind=kind_of,
        tokenizer="tokenizer.ggml.model" in found,
        template=template if isinstance(template, str) and template.strip() else None,
        part=part,
        parts=parts,
        context=numbers.get("context_length"),
        cache_bytes=_cache_bytes(numbers),
    )


def _check_tensors(reader: _Reader, tensors: int, alignment: int) -> None:
    """Raise ValueError if the file ends before its tensors do, or no file could be so long."""
    if tensors > _MAX_TENSORS:
        raise _corrupt(f"it claims to have {tensors:,} tensors")
    end = 0
    for _ in range(tensors):
        reader.skip(reader.number("<Q"))  # the name
        dimensions = reader.number("<I")
        if dimensions > _MAX_DIMENSIONS:
            raise _corrupt(f"it has a tensor of {dimensions:,} dimensions")
        elements = math.prod(reader.number("<Q") for _ in range(dimensions))
        block, size = _BLOCKS.get(reader.number("<I"), (1, 0))
        end = max(end, reader.number("<Q") + elements // block * size)
    whole = -(-reader.at // alignment) * alignment + end
    if whole > _MAX_END:
        raise _corrupt("it claims to have tensors beyond the end of any file")
    if tensors and reader.size < whole:
        raise ValueError(
            f"truncated: it has {reader.size:,} bytes, and its tensors end at byte {whole:,}; {AGAIN}"
        )


def _cache_bytes(shape: Mapping[str, int]) -> int | None:
    """Return the bytes of a token's keys and values in all layers, two for each number.

    Layers may differ in their number of heads. The metadata then has an array, and the number of
    all heads is taken, which is more.
    """
    heads = shape.get("attention.head_count")
    layers = shape.get("block_count")
    if heads is None or layers is None:
        return None
    size = shape.get("embedding_length", 0) // heads
    both = shape.get("attention.key_length", size) + shape.get("attention.value_length", size)
    return 2 * layers * shape.get("attention.head_count_kv", heads) * both or None
