"""Weights from S3. test_serving.py reads objects with a deployed endpoint."""

from pathlib import Path

import pytest

from local.sagemaker.weights import WeightsError, fetch


class Objects:
    """Objects by their keys."""

    def __init__(self, **content: bytes) -> None:
        self._content = content

    async def get(self, path: str, **query: str) -> bytes:
        """Return an object's bytes."""
        return self._content[query["key"]]

    async def get_json(self, path: str, **query: str) -> list[dict[str, str]]:
        """Return all keys."""
        return [{"key": key} for key in self._content]


async def test_linked_files(tmp_path: Path) -> None:
    """An object that stands for a file becomes a link to it. No name leads out of the folder."""
    file = tmp_path / "mine.gguf"
    file.write_bytes(b"weights")
    links = tmp_path / "linked" / "bucket" / "m"
    links.mkdir(parents=True)
    (links / "a.gguf").symlink_to(file)
    objects = Objects(**{"m/a.gguf": b"", "m/b": b"more"})
    folder = tmp_path / "model"
    await fetch(objects, "s3://bucket/m", folder, "role", tmp_path / "linked")
    assert (folder / "a.gguf").readlink() == file
    assert (folder / "b").read_bytes() == b"more"
    assert not (folder / "b").is_symlink()
    outside = Objects(**{"m/../../b": b"more"})
    with pytest.raises(WeightsError, match="leaves the folder"):
        await fetch(outside, "s3://bucket/m", folder, "role", tmp_path / "linked")
