"""The metadata of GGUF files: real ones, others' files, and corrupt ones."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo_model import WEIGHTS
from demo_model.chat import TEMPLATE
from model.gguf import AGAIN, Head, foreign, read_head
from tests.support import gguf_files

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = WEIGHTS.read_bytes()
METADATA_END = WHOLE.index(b"token_embd.weight")


def test_a_model() -> None:
    """The demo model has a tokenizer, its template, and one part."""
    # 4 layers with 2 heads of 32 keys and 32 values, of 2 bytes each
    assert read_head(WEIGHTS) == Head(template=TEMPLATE, context=4096, cache_bytes=1024)


@pytest.mark.parametrize(
    ("changes", "head"),
    [
        ({"general.type": "adapter"}, {"kind": "adapter"}),
        ({"general.type": "mmproj", "general.architecture": "clip"}, {"kind": "mmproj"}),
        ({"general.type": None, "general.architecture": "clip"}, {"kind": "mmproj"}),
        ({"general.type": "imatrix"}, {"kind": "imatrix"}),
        ({"general.type": None}, {"kind": "model"}),
        ({"general.type": 7}, {"kind": "model"}),
        ({"tokenizer.ggml.model": None}, {"tokenizer": False}),
        ({"tokenizer.chat_template": None}, {"template": None}),
        ({"split.no": 1, "split.count": 3}, {"part": 1, "parts": 3}),
        ({"split.no": 0, "split.count": 0}, {"part": 0, "parts": 1}),
    ],
)
def test_kinds(
    tmp_path: Path, changes: dict[str, str | int | None], head: dict[str, object]
) -> None:
    """The kind of a file is in its metadata."""
    found = read_head(gguf_files.write(tmp_path / "a", changes))
    assert {name: getattr(found, name) for name in head} == head


def test_a_vocabulary(tmp_path: Path) -> None:
    """A file without tensors is no model, unless it is the first part of one."""
    assert read_head(gguf_files.write(tmp_path / "a", None, [])).kind == "vocabulary"
    part = {"split.no": 0, "split.count": 2}
    assert read_head(gguf_files.write(tmp_path / "a", part, [])).kind == "model"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n", "wrong magic: it begins with the bytes 89 48 44 46"),
        (b"GGUF", "corrupt: it ends within its first 24 bytes"),
        (b"FUGG" + bytes(20), "wrong magic"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "written for big-endian machines"),
        (b"GGUF" + struct.pack("<IQQ", 1, 1, 1), "of GGUF version 1, which is too old"),
        (b"GGUF" + struct.pack("<IQQ", 3, 1, 2**40), "claims to have"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 1, 1, 2**60), "ends within its metadata"),
        (b"GGUF" + struct.pack("<IQQQ1sI", 3, 1, 1, 1, b"a", 99), "value of an unknown type"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 1, 1, 1, b"a", 9, 9, 1), "nested array"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 1, 1, 1, b"a", 9, 8, 2**40), "array of 1,099,"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 1, 1, 1, b"a", 9, 8, 9), "ends within"),
        (b"GGUF" + struct.pack("<IQQQ1sIIQ", 3, 1, 1, 1, b"a", 9, 0, 2**62), "ends within"),
    ],
)
def test_what_is_no_gguf(tmp_path: Path, content: bytes, said: str) -> None:
    """A file that is none, or a corrupt one, is an error of one sentence."""
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=said):
        read_head(tmp_path / "a")


@pytest.mark.parametrize("left", [1, 1_000, 1_000_000])
def test_a_truncated_file_is_told_with_what_to_do(tmp_path: Path, left: int) -> None:
    """A download that broke off has its metadata, but not all tensors."""
    (tmp_path / "a").write_bytes(WHOLE[:-left])
    with pytest.raises(ValueError, match="truncated") as caught:
        read_head(tmp_path / "a")
    assert str(caught.value) == (
        f"truncated: it has {len(WHOLE) - left:,} bytes, and its tensors end at byte "
        f"{len(WHOLE):,}; compare its size with that at its source, and download it again"
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (struct.pack("<IQQ", 3, 2**17, 0), "claims to have 131,072 tensors"),
        (struct.pack("<IQQQI", 3, 1, 0, 0, 5), "a tensor of 5 dimensions"),
        (struct.pack("<IQQQI", 3, 1, 0, 2**63, 1), "ends within its metadata"),
        # of a type that is not known, the data begin behind the end
        (struct.pack("<IQQQIQIQ", 3, 1, 0, 0, 1, 7, 999, 4096), "end at byte 4,160"),
        (
            struct.pack("<IQQQI4QIQ", 3, 1, 0, 0, 4, *[2**64 - 1] * 4, 0, 0),
            "corrupt: it claims to have tensors beyond the end of any file",
        ),
    ],
)
def test_a_corrupt_table_of_tensors(tmp_path: Path, table: bytes, said: str) -> None:
    """Each says what is wrong, and what to do."""
    (tmp_path / "a").write_bytes(b"GGUF" + table)
    with pytest.raises(ValueError, match=said) as caught:
        read_head(tmp_path / "a")
    assert "download it again" in str(caught.value)


NUMBER = "is not a whole number"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("split.count", struct.pack("<If", 6, float("inf")), NUMBER),
        ("split.count", struct.pack("<Id", 12, float("nan")), NUMBER),
        ("split.count", struct.pack("<I", 8) + gguf_files.text("three"), NUMBER),
        ("split.count", struct.pack("<IIQ", 9, 4, 0), NUMBER),
        ("split.count", struct.pack("<Ii", 5, -3), "and its split.count is -3"),
        ("split.count", struct.pack("<IQ", 10, 2**64 - 1), "and its split.count is 18,446"),
        ("split.no", struct.pack("<Ii", 5, -1), "its split.no is -1"),
        ("split.no", struct.pack("<Ii", 5, 1), "its split.no is 1, and its split.count is 1"),
        ("general.alignment", struct.pack("<I?", 7, True), NUMBER),
        ("general.alignment", struct.pack("<II", 4, 0), "general.alignment is 0, not a power"),
        ("general.alignment", struct.pack("<II", 4, 48), "general.alignment is 48, not a power"),
        ("general.alignment", struct.pack("<II", 4, 2**31), "not a power of 2 up to 65,536"),
    ],
)
def test_a_number_that_cannot_be(tmp_path: Path, key: str, value: bytes, said: str) -> None:
    """A value of another type, or one that means nothing, is told with its key."""
    with pytest.raises(ValueError, match=r"^corrupt: its ") as caught:
        read_head(gguf_files.write(tmp_path / "a", None, [], typed={key: value}))
    assert key in str(caught.value)
    assert said in str(caught.value)


KEYS = [
    "split.no", "split.count", "general.alignment", "general.type", "general.architecture",
    "tokenizer.ggml.model", "tokenizer.chat_template", "llama.context_length", "llama.block_count",
    "llama.attention.head_count",
]  # fmt: skip


def values(kind: int) -> st.SearchStrategy[bytes]:
    """Return values of a type of metadata, with the type."""
    start = struct.pack("<I", kind)
    if kind == 8:
        return st.text(max_size=6).map(lambda text: start + gguf_files.text(text))
    if kind == 9:
        return st.integers(0, 3).map(lambda count: start + struct.pack("<IQ", 0, count) + b"abc")
    size = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1}.get(kind, 8)
    sizes = st.sampled_from((0, 1, 2, 32, 2**15, 2**63, 2**64 - 1))
    numbers = sizes.map(lambda value: (value % 2 ** (8 * size)).to_bytes(size, "little"))
    return (numbers | st.binary(min_size=size, max_size=size)).map(lambda value: start + value)


@given(
    st.dictionaries(
        st.sampled_from(KEYS),
        st.integers(0, 13).flatmap(values),
        min_size=1,
    )
)
def test_metadata_of_any_type(
    tmp_path_factory: pytest.TempPathFactory, typed: dict[str, bytes]
) -> None:
    """Whatever type a value has, there is a sensible head, or an error in our own words."""
    path = gguf_files.write(tmp_path_factory.getbasetemp() / "typed.gguf", {}, [], typed=typed)
    try:
        head = read_head(path)
    except ValueError as error:
        assert str(error).startswith("corrupt")  # noqa: PT017 - there may be a head instead
        assert str(error).endswith(AGAIN)  # noqa: PT017
    else:
        assert 0 <= head.part < head.parts
        assert head.context is None or type(head.context) is int
        assert head.template is None or isinstance(head.template, str)


@given(st.integers(0, METADATA_END - 1), st.binary(min_size=1, max_size=12), st.booleans())
def test_corrupt_bytes(
    tmp_path_factory: pytest.TempPathFactory, at: int, new: bytes, cut: bool
) -> None:
    """Whatever bytes change, and wherever the metadata ends, there is a head or a ValueError."""
    path = tmp_path_factory.getbasetemp() / "corrupt.gguf"
    path.write_bytes(WHOLE[:at] + new + (b"" if cut else WHOLE[at + len(new) : METADATA_END + 999]))
    said = ""
    try:
        assert read_head(path).parts >= 1
    except ValueError as error:
        said = str(error)
    assert "\n" not in said


@pytest.mark.parametrize(
    ("first", "what"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "git lfs pull"),
        (b"\n  <!DOCTYPE html>", "a web page"),
        (b"<HTML>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied', "an XML answer"),
        (b"PK\x03\x04", "ZIP"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"lmgg\0", "GGML"),
        (b"something", None),
    ],
)
def test_other_files(first: bytes, what: str | None) -> None:
    """Files that are found under the name of weights are recognised by how they begin."""
    found = foreign(first)
    assert found is None if what is None else what in str(found)
