"""A model's weights, fetched from S3 before its container starts."""

import asyncio
import io
import shutil
import tarfile
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

LINKED = "linked"
"""The local cloud's folder with links BUCKET/KEY to files, which stand for the objects' bytes.

A process that may write there may read these files anyway.
"""


class WeightsError(Exception):
    """The weights cannot be fetched. The message is the endpoint's failure reason."""


class Objects(Protocol):
    """Reads S3 through the control plane."""

    async def get(self, path: str, **query: str) -> bytes:
        """Return the bytes of an object."""

    async def get_json(self, path: str, **query: str) -> list[dict[str, str]]:
        """Return a listing."""


class Access(Objects, Protocol):
    """Reads S3, and checks the other rights of an execution role."""

    def pull(self, image: str, role: str) -> None:
        """Raise WeightsError if the role may not pull the image."""


async def fetch(
    objects: Objects, address: str | None, folder: Path, role: str, linked: Path
) -> None:
    """Fill `folder` with the objects below an S3 address, which are read as `role`.

    Objects named *.tar.gz are unpacked. Without an address the folder is empty. An object for which
    there is a link BUCKET/KEY below `linked` becomes a link to the same file.

    Raises WeightsError if there is no object, or if the role may not read them.
    """
    await asyncio.to_thread(_empty, folder)
    if address is None:
        return
    listing = await objects.get_json("objects", uri=address, role=role)
    if not listing:
        raise WeightsError(f"Could not find model data at {address}.")
    parts = urlsplit(address)
    for item in listing:
        body = await objects.get("object", bucket=parts.netloc, key=item["key"], role=role)
        if item["key"].endswith(".tar.gz"):
            await asyncio.to_thread(_unpack, body, folder)
            continue
        relative = item["key"].removeprefix(parts.path[1:]).lstrip("/") or Path(item["key"]).name
        if not item["key"].endswith("/"):
            file = _file_of(linked, f"{parts.netloc}/{item['key']}")
            await asyncio.to_thread(_write, folder, relative, body if file is None else file)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _file_of(linked: Path, name: str) -> Path | None:
    link = linked / name
    return link.readlink() if link.is_symlink() else None


def _write(folder: Path, relative: str, content: bytes | Path) -> None:
    target = (folder / relative).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise WeightsError(f"The key {relative} leaves the folder of the model.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Path):
        target.symlink_to(content)
    else:
        target.write_bytes(content)


def _unpack(body: bytes, folder: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        archive.extractall(folder, filter="data")
