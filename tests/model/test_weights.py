"""Which of a model's files are its weights: by names, as hubs, tools and people leave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import StartError
from model.weights import (
    File,
    GgufModel,
    check_hugging_face,
    check_tokenizer,
    files_in,
    find_gguf,
    find_hugging_face,
)
from tests.support import gguf_files

if TYPE_CHECKING:
    from pathlib import Path

LAYOUTS = [
    # One model: the files there, and the parts that are loaded.
    ("model.gguf", ["model.gguf"]),
    ("Model.GGUF", ["Model.GGUF"]),
    ("Q4_K_M/model.gguf README.md config.json", ["Q4_K_M/model.gguf"]),
    ("m-00001-of-00001.gguf", ["m-00001-of-00001.gguf"]),
    (
        # github.com/Michael-A-Kuykendall/shimmy/issues/170: the last part may be listed first
        "Q3_K_S/GLM-4.5-Air-Q3_K_S-00002-of-00002.gguf Q3_K_S/GLM-4.5-Air-Q3_K_S-00001-of-00002.gguf",
        [
            "Q3_K_S/GLM-4.5-Air-Q3_K_S-00001-of-00002.gguf",
            "Q3_K_S/GLM-4.5-Air-Q3_K_S-00002-of-00002.gguf",
        ],
    ),
    ("a-00001-of-00002.gguf a-00002-of-00002.GGUF", ["a-00001-of-00002.gguf", "a-00002-of-00002.GGUF"]),
    # github.com/CambrianTech/continuum/pull/2102, unslothai/unsloth/pull/10357: never the projector
    # github.com/gokayfem/ComfyUI_VLM_nodes/issues/84, mikjee/warpdrv/issues/7
    ("mmproj-model-f16.gguf llava.Q3_K_XS.gguf", ["llava.Q3_K_XS.gguf"]),
    ("mmproj.gguf MXFP4_MOE/m-00001-of-00001.gguf", ["MXFP4_MOE/m-00001-of-00001.gguf"]),
    ("mmproj-model-f16.gguf gemma-3-4b-it-Q4_K_M.gguf", ["gemma-3-4b-it-Q4_K_M.gguf"]),
    ("a.gguf MMPROJ-F16.GGUF a.mmproj-Q8_0.gguf", ["a.gguf"]),
    ("a.gguf imatrix.gguf imatrix_unsloth.gguf a.imatrix", ["a.gguf"]),
    # macOS, git and the hub's own folders
    ("a.gguf ._a.gguf __MACOSX/a.gguf .git/lfs/a.gguf", ["a.gguf"]),
    ("a.gguf .cache/huggingface/download/a.gguf.0.incomplete", ["a.gguf"]),
    ("a.gguf b.gguf.part model.safetensors config.json", ["a.gguf"]),
    (
        "m--o--n/blobs/4f m--o--n/refs/main m--o--n/snapshots/9a/a.gguf",
        ["m--o--n/snapshots/9a/a.gguf"],
    ),
]  # fmt: skip


def listed(names: str) -> list[File]:
    """Return files of these names, all of some size."""
    return [File(name, 9) for name in names.split()]


@pytest.mark.parametrize(("names", "parts"), LAYOUTS)
def test_the_model_among_other_files(names: str, parts: list[str]) -> None:
    """The model is found, with all its parts in order, whatever else is there."""
    for files in (listed(names), listed(names)[::-1]):
        assert list(find_gguf(files, "/m").parts) == parts


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", "exactly one GGUF model is needed, there is none"),
        ("README.md", "there is none; there is README.md"),
        (
            # github.com/ggml-org/llama.cpp/issues/15164
            "K-Q2_K_S-00001-of-00003.gguf K-Q2_K_S-00003-of-00003.gguf",
            "of a model of 3 parts, and K-Q2_K_S-00002-of-00003.gguf is not there",
        ),
        ("a-00002-of-00002.gguf", "a-00001-of-00002.gguf is not there"),
        ("a-00001-of-90000.gguf", "and a-00002-of-90000.gguf, .* more is not there"),
        ("a-Q4_K_M.gguf a-Q8_0.gguf", "there are a-Q4_K_M.gguf, a-Q8_0.gguf; choose one by SLUICE_"),
        (
            "q4/a-00001-of-00002.gguf q4/a-00002-of-00002.gguf q8/a.gguf",
            "there are q4/a-00001-of-00002.gguf, q8/a.gguf; choose one",
        ),
        (
            # github.com/ggml-org/llama.cpp/issues/28337: a draft model beside the model
            "L-2.1-UD-Q4_K_XL.gguf l-2.1-DFlash-BF16.gguf",
            "there are L-2.1-UD-Q4_K_XL.gguf, l-2.1-DFlash-BF16.gguf; choose one",
        ),
        (
            # github.com/ngxson/wllama/issues/135: loaded by another part than the first
            "model.shard-00005-of-00005.gguf",
            "model.shard-00001-of-00005.gguf, .* is not there",
        ),
        ("mmproj-a.gguf", "mmproj-a.gguf is a projector of images"),
        ("a.gguf.part", "a.gguf.part: an unfinished download"),
        ("x/.cache/huggingface/download/a.gguf.3.incomplete", "an unfinished download"),
        ("blobs/4f.incomplete refs/main", "an unfinished download"),
        (
            # github.com/oobabooga/textgen/issues/6187
            "T.Q8_0.gguf.part1of2 T.Q8_0.gguf.part2of2",
            "T.Q8_0.gguf.part1of2, T.Q8_0.gguf.part2of2: pieces of one file, join them",
        ),
        # github.com/Headroomov/GGUF-Merge/issues/1
        ("a.gguf-split-a a.gguf-split-b", "pieces of one file, join them"),
        ("model.tar.gz", "model.tar.gz: an archive"),
        ("model.zip README.md", "model.zip: an archive"),
        ("config.json model.safetensors", "a Hugging Face model; set engine=vllm"),
    ],
)  # fmt: skip
def test_why_there_is_no_model(names: str, said: str) -> None:
    """Without one whole model there is one sentence, with the place, the files and what to do."""
    with pytest.raises(StartError, match=said) as caught:
        find_gguf(listed(names), "/m")
    assert str(caught.value).startswith("/m: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "parts"),
    [
        ("a-Q4.gguf", ["a-Q4.gguf"]),
        ("Q8/a-00001-of-00002.gguf", ["Q8/a-00001-of-00002.gguf", "Q8/a-00002-of-00002.gguf"]),
        ("a-00002-of-00002.gguf", ["Q8/a-00001-of-00002.gguf", "Q8/a-00002-of-00002.gguf"]),
    ],
)
def test_a_choice(chosen: str, parts: list[str]) -> None:
    """The model that SLUICE_WEIGHTS_FILE names is taken, by its path, its name or any part."""
    files = listed("a-Q4.gguf Q8/a-00001-of-00002.gguf Q8/a-00002-of-00002.gguf mmproj-a.gguf")
    assert list(find_gguf(files, "/m", chosen).parts) == parts
    for other in ("a-Q5.gguf", "mmproj-a.gguf", "../a-Q4.gguf"):
        with pytest.raises(StartError, match=r"there is no model .* \(SLUICE_WEIGHTS_FILE\)"):
            find_gguf(files, "/m", other)


@given(st.lists(st.text("aA-_./0123456789fgou", min_size=1, max_size=24), max_size=6))
def test_any_names(names: list[str]) -> None:
    """For any names, there is a model of these files or one sentence."""
    files = [
        File(f"{name}{end}", 1) for name in names for end in ("", ".gguf", "-00001-of-00002.gguf")
    ]
    for find in (find_gguf, find_hugging_face):
        said = ""
        try:
            found = find(files, "/m")
        except StartError as error:
            said = str(error)
        else:
            if isinstance(found, GgufModel):
                assert set(found.parts) <= {it.name for it in files}
        assert "\n" not in said


def test_a_cache_of_links(tmp_path: Path) -> None:
    """In a cache of Hugging Face, the file of the revision `main` is found by its link."""
    cache = tmp_path / "models--org--demo"
    for name in ("blobs", "refs", "snapshots/old", "snapshots/new"):
        (cache / name).mkdir(parents=True)
    gguf_files.write(cache / "blobs" / "4f")
    (cache / "refs" / "main").write_text("new")
    for revision in ("old", "new"):
        (cache / "snapshots" / revision / "a.gguf").symlink_to("../../blobs/4f")
    (cache / "snapshots" / "new" / "loop").symlink_to("..")
    model = find_gguf(files_in(tmp_path), "/m")
    assert model.parts == ("models--org--demo/snapshots/new/a.gguf",)
    assert model.check(tmp_path).template is not None
    (cache / "blobs" / "4f").unlink()
    with pytest.raises(StartError, match=r"new/a\.gguf: a link to a file that is not there"):
        find_gguf(files_in(tmp_path), "/m")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """A folder that cannot be read is named."""
    with pytest.raises(StartError, match=r"nothing: No such file"):
        files_in(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        ("config.json model.safetensors tokenizer.json original/params.json", ""),
        ("params.json consolidated.safetensors tekken.json", ""),
        ("config.json model.safetensors a.gguf onnx/config.json", ""),
        ("m/snapshots/9a/config.json m/snapshots/9a/model.safetensors m/blobs/1", "m/snapshots/9a"),
        ("x/config.json x/model.safetensors y/config.json", "x"),
        ("x/config.json x/original/params.json x/original/consolidated.00.pth", "x"),
    ],
)
def test_the_folder_of_a_hugging_face_model(names: str, folder: str) -> None:
    """The model is found where its configuration and weights are."""
    assert find_hugging_face(listed(names), "/m").folder == folder


TRAINED = (
    "adapter_config.json adapter_model.safetensors checkpoint-16/adapter_config.json "
    "tokenizer_config.json tokenizer.json tokenizer.model training_args.bin README.md"
)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ("", "no config.json: this is not a Hugging Face model"),
        ("a-Q4.gguf mmproj-a.gguf", "is a GGUF model, which engine=llama_cpp serves"),
        ("adapter_config.json adapter_model.safetensors", "a LoRA adapter .adapter_config.json."),
        (
            # github.com/vllm-project/vllm/issues/4416: what a training has left
            TRAINED,
            "a LoRA adapter .adapter_config.json., and the model itself is missing",
        ),
        # github.com/dphnAI/sonar/issues/417
        ("a-00001-of-00002.gguf a-00002-of-00002.gguf", "which engine=llama_cpp serves"),
        ("model.tar.gz", "model.tar.gz: an archive"),
        ("model.safetensors.incomplete", "an unfinished download"),
        (
            "a/config.json a/model.safetensors b/config.json b/model.safetensors",
            "there are a, b; let the setting weights name the folder of one",
        ),
        ("config.json tokenizer.json", "no weights"),
        ("config.json a.gguf", "the weights are GGUF, which vLLM does not load from here"),
        ("config.json model.safetensors", "no tokenizer"),
        ("config.json model.safetensors tokenizer.json x.safetensors.aria2", "unfinished download"),
        (
            "config.json tokenizer.json m-00001-of-00003.safetensors m-00003-of-00003.safetensors",
            "m-00002-of-00003.safetensors is missing beside the other parts",
        ),
        (
            "config.json tokenizer.model pytorch_model-00002-of-00002.bin",
            "pytorch_model-00001-of-00002.bin is missing",
        ),
    ],
)
def test_why_there_is_no_hugging_face_model(names: str, said: str) -> None:
    """What is missing of a Hugging Face model is named."""

    def check() -> None:
        model = find_hugging_face(listed(names), "/m")
        check_hugging_face(model.names, "/m")
        check_tokenizer(model.names, "/m")

    with pytest.raises(StartError, match=said):
        check()
