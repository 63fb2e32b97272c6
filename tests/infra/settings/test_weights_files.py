"""The setting `weights`, as far as a name or a local file tells."""

from pathlib import Path

import pytest

from infra.settings.context import settings_from_context
from infra.settings.deployment import SettingsError
from infra.settings.weights_files import check_file
from tests.support import gguf_files

GPU = {"instance_type": "ml.g6.xlarge", "engine": "vllm"}


@pytest.mark.parametrize(
    ("context", "said"),
    [
        ({"weights": "s3://models/a-00001-of-00003.gguf"}, "is one part of a split model"),
        ({"weights": "models/a-00002-of-00003.GGUF"}, "is one part of a split model"),
        ({"weights": "s3://models/mmproj-a-f16.gguf"}, "is a projector of images .mmproj., and"),
        ({"weights": "s3://models/a.MMPROJ.gguf"}, "is a projector of images"),
        ({"weights": "s3://models/a.gguf.part"}, "a.gguf.part: an unfinished download"),
        ({"weights": "s3://models/a.gguf.incomplete"}, "an unfinished download"),
        ({"weights": "s3://models/a.gguf.part1of2"}, "pieces of one file"),
        ({"weights": "s3://models/a.zip"}, "a.zip: an archive, unpack it first"),
        ({"weights": "s3://models/a.tgz"}, "an archive, unpack it first"),
        ({"weights": "s3://models/model.safetensors"}, "a Hugging Face model; set engine=vllm"),
        ({"weights": "s3://models/one"}, "exactly one GGUF model is needed, there is none"),
        ({**GPU, "weights": "s3://models/a.GGUF"}, "engine=vllm reads Hugging Face models"),
        ({**GPU, "weights": "s3://models/a.safetensors"}, "one object is not a Hugging Face model"),
        ({**GPU, "weights": "s3://models/one"}, "with a slash at its end"),
    ],
)
def test_names(context: dict[str, object], said: str) -> None:
    """A name that cannot be a model is refused, with what to do."""
    with pytest.raises(SettingsError, match=said):
        settings_from_context(context)


@pytest.mark.parametrize(
    "context",
    [
        {"weights": "s3://models/a.GGUF", "weights_sha256": "a" * 64},
        {"weights": "s3://models/a-00001-of-00001.gguf"},
        {"weights": "s3://models/a.tar.gz"},
        {"weights": "s3://models/one/"},
        {**GPU, "weights": "s3://models/a.tar.gz"},
    ],
)
def test_names_of_models(context: dict[str, object]) -> None:
    """The names of models, packed models and prefixes are accepted."""
    assert settings_from_context(context).weights == context["weights"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><title>Access</title>", "a web page"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"tjgg\0\0", "an older format .GGJT."),
        (b"\0" * 64, "wrong magic"),
        (b"GGUF\3\0\0\0", "corrupt"),
    ],
)
def test_files_that_are_no_model(tmp_path: Path, content: bytes, said: str) -> None:
    """A local file is looked at before it is uploaded."""
    path = tmp_path / "mine.gguf"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as caught:
        check_file(path, "mine.gguf")
    assert str(caught.value).startswith("weights=mine.gguf: ")


def test_local_files(tmp_path: Path) -> None:
    """A model is accepted. A folder, an adapter and a renamed part are not."""
    check_file(gguf_files.write(tmp_path / "mine.GGUF"), "mine.GGUF")
    with pytest.raises(SettingsError, match="is a folder; put it into S3"):
        check_file(tmp_path, "folder")
    adapter = gguf_files.write(tmp_path / "lora.gguf", {"general.type": "adapter"})
    with pytest.raises(SettingsError, match="a LoRA adapter, not a model"):
        check_file(adapter, "lora.gguf")
    first, *_ = gguf_files.split(tmp_path / "parts")
    part = first.rename(tmp_path / "renamed.gguf")
    with pytest.raises(SettingsError, match="part 1 of 3 of a split model"):
        check_file(part, "renamed.gguf")


def test_a_file_in_a_forbidden_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a wrong value, as a file that is not there."""

    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", forbidden)
    with pytest.raises(SettingsError, match=r"^weights=a\.gguf: .*Permission denied"):
        check_file(tmp_path / "a.gguf", "a.gguf")
