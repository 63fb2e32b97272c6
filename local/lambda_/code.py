"""A function's code: the deployed zip, unpacked once."""

import asyncio
import hashlib
import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import Protocol

from local.state import Function


class Codes(Protocol):
    """Reads code through the control plane."""

    async def get(self, path: str, **query: str) -> bytes:
        """Return the bytes of a function's zip."""


async def unpack(codes: Codes, function: Function, directory: Path) -> Path:
    """Return the folder that serves as /var/task. The code is fetched and unpacked once.

    Raises OSError, zipfile.BadZipFile, and the errors of `codes`.
    """
    folder = directory / "code" / hashlib.sha256(function.code_sha256.encode()).hexdigest()[:32]
    if not folder.exists():
        body = await codes.get(
            "code", function=function.name, version=function.version, region=function.region
        )
        await asyncio.to_thread(_unpack, body, folder)
    return folder


def _unpack(body: bytes, folder: Path) -> None:
    # The code is unpacked beside its folder and then moved, so that an existing folder is complete.
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for item in archive.infolist():
            target = Path(archive.extract(item, partial))
            mode = item.external_attr >> 16 & 0o777
            if mode and not item.is_dir():
                target.chmod(mode)
    if not folder.exists():
        partial.rename(folder)
    shutil.rmtree(partial, ignore_errors=True)
