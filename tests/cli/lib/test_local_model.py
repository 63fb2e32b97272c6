"""A model of this machine: what is served, with which settings, and what is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from cli.lib import local_model
from cli.lib.project import CommandError, UsageError
from cli.lib.settings import settings_of
from tests.support import gguf_files

GB = 2**30


def refusal(path: Path, template: Path | None = None, memory: int = GB, **changes: str) -> str:
    """Return why a model is not served."""
    with pytest.raises(CommandError) as caught:
        local_model.of(path, template, changes, memory=memory)
    assert "\n" not in str(caught.value)
    # A file that cannot be served is a wrong value; too little memory is a failure.
    assert isinstance(caught.value, UsageError) is ("of memory are free" not in str(caught.value))
    return str(caught.value)


def test_the_settings_are_the_models_own(tmp_path: Path) -> None:
    """Name, context and template come from the file. Settings that are given come first."""
    path = gguf_files.write(tmp_path / "My Model.Q8.GGUF", {"llama.context_length": 1000})
    model = local_model.of(path, None, {}, memory=GB)
    settings = settings_of("local", model.context)
    assert (settings.model_name, settings.context_tokens) == ("My-Model.Q8", 1000)
    assert (settings.parallel, settings.tokens_per_second) == (4, 0)
    assert list(model.files.values()) == [path]
    assert settings.weights == f"s3://{local_model.BUCKET}/{model.prefix}/"
    given = {"context_tokens": "512", "environment": '{"SLUICE_QUEUE": "3"}', "parallel": "2"}
    settings = settings_of("local", local_model.of(path, None, given, memory=GB).context)
    assert (settings.context_tokens, settings.parallel) == (512, 2)
    assert settings.environment["SLUICE_QUEUE"] == "3"


@pytest.mark.parametrize(
    ("memory", "context", "parallel"),
    [
        (64 * GB, 131_072, 4),
        (8 * GB, 32_512, 4),
        (GB, 3840, 4),
        (GB // 4, 3840, 1),
        (GB // 16, 2048, 1),
    ],
)
def test_memory_bounds_the_context(
    tmp_path: Path, memory: int, context: int, parallel: int
) -> None:
    """The cache of a model of today, 32 kB a token here, does not take more than there is."""
    changes = {"llama.context_length": 131_072, "llama.block_count": 32 * 4}
    path = gguf_files.write(tmp_path / "a.gguf", changes)
    chosen = local_model.of(path, None, {}, memory=memory).context
    assert (chosen["context_tokens"], chosen["parallel"]) == (str(context), str(parallel))


def test_parts_and_folders(tmp_path: Path) -> None:
    """A folder, or any part of a split model, means all parts."""
    parts = gguf_files.split(tmp_path)
    (tmp_path / "mmproj-f16.gguf").write_bytes(b"GGUF")
    for path in (tmp_path, parts[1]):
        assert list(local_model.of(path, None, {}, memory=GB).files.values()) == parts
    parts[2].unlink()
    assert "of a model of 3 parts" in refusal(parts[0])


def test_a_template_of_its_own(tmp_path: Path) -> None:
    """A file without a template is refused with the way out, and served with a template."""
    path = gguf_files.write(tmp_path / "a.gguf", {"tokenizer.chat_template": None})
    assert "--chat-template FILE" in refusal(path)
    template = tmp_path / "chat.jinja"
    assert "--chat-template: " in refusal(path, template)
    template.write_text("{{ messages }}")
    model = local_model.of(path, template, {}, memory=GB)
    assert model.files[local_model.TEMPLATE] == template
    environment = json.loads(model.context["environment"])
    assert environment["SLUICE_CHAT_TEMPLATE"] == local_model.TEMPLATE


def test_a_changed_file_is_deployed_again(tmp_path: Path) -> None:
    """Another file under the same name has another address."""
    path = gguf_files.write(tmp_path / "a.gguf")
    first = local_model.of(path, None, {}, memory=GB).prefix
    assert local_model.of(path, None, {}, memory=GB).prefix == first
    gguf_files.write(path, {"general.name": "another"})
    assert local_model.of(path, None, {}, memory=GB).prefix != first


def test_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of the home folder is read as a shell would, because make does not do it."""
    path = gguf_files.write(tmp_path / "a.gguf")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(local_model.of(Path("~/a.gguf"), None, {}, memory=GB).files.values()) == [path]


def test_a_path_without_a_model_is_a_wrong_command_line(tmp_path: Path) -> None:
    """Its exit status is that of every other wrong value."""
    with pytest.raises(UsageError, match="there is no such file"):
        local_model.of(tmp_path / "b.gguf", None, {}, memory=GB)
    with pytest.raises(UsageError, match="and not a URL"):
        local_model.of(Path("https://example.org/b.gguf"), None, {}, memory=GB)


def test_what_is_refused(tmp_path: Path) -> None:
    """Each refusal says what is wrong in one line."""
    path = gguf_files.write(tmp_path / "a.gguf")
    assert "-c weights" in refusal(path, weights="s3://a/b")
    assert "has a context of 4096 tokens" in refusal(path, context_tokens="8192")
    assert "GB of memory are free" in refusal(path, memory=1_000_000)
    for environment in ("[]", "[" * 100_000):
        assert "must be a JSON object" in refusal(path, environment=environment)
    (tmp_path / "c.gguf").write_bytes(b"<html>")
    assert "a web page" in refusal(tmp_path / "c.gguf")
    assert f"there are a.gguf, c.gguf; name the file of one: --model {tmp_path}/" in refusal(
        tmp_path
    )
    (tmp_path / "mmproj.gguf").write_bytes(b"GGUF")
    assert "mmproj.gguf is a projector" in refusal(tmp_path / "mmproj.gguf")


def test_a_file_without_an_ending(tmp_path: Path) -> None:
    """Ollama's files are named by their checksum. They are looked at like any other."""
    path = gguf_files.write(tmp_path / "sha256-0123")
    assert local_model.of(path, None, {}, memory=GB).files == {"model.gguf": path}
    path.write_bytes(struct.pack("<I", 7))
    assert "wrong magic" in refusal(path)
