"""Checks the files of weights in S3 as the container will when it starts (`model.weights`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model import gguf, weights
from model.errors import StartError

if TYPE_CHECKING:
    from infra.settings.deployment import Settings

_MAX_OBJECTS = 5_000
_POINTER_BYTES = 1_024
_READ = 8
"""The maximum number of objects whose first bytes are read."""


def listed(s3: Any, bucket: str, key: str) -> list[weights.File]:
    """Return the objects below a prefix, or the one of a key, by their names below the folder.

    Raises:
        botocore's ClientError: S3 refused.

    """
    folder = key.rpartition("/")[0]
    start = len(folder) + 1 if folder else 0
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=bucket, Prefix=key, PaginationConfig={"MaxItems": _MAX_OBJECTS}
    )
    return [
        weights.File(it["Key"][start:], it["Size"])
        for page in pages
        for it in page.get("Contents", [])
        if not it["Key"].endswith("/") and (key.endswith("/") or it["Key"] == key)
    ]


def problem(
    settings: Settings, files: list[weights.File], s3: Any, bucket: str, key: str
) -> str | None:
    """Return why the container would not start with these files; None if nothing is known."""
    if str(settings.weights).endswith(".tar.gz") or settings.engine == "scripted":
        return None
    place = f"weights={settings.weights}"
    try:
        if settings.on_gpu:
            names = _hugging_face(settings, files, place)
        else:
            chosen = settings.environment.get("SLUICE_WEIGHTS_FILE")
            names = list(weights.find_gguf(files, place, chosen).parts)
    except StartError as error:
        return str(error)
    sizes = {it.name: it.size for it in files}
    folder = key.rpartition("/")[0]
    for name in names:
        if sizes[name] == 0:
            return f"{place}: {name} is empty"
    first = [name for name in names if not settings.on_gpu or sizes[name] <= _POINTER_BYTES]
    for name in first[:_READ]:
        what = _looked_at(s3, bucket, f"{folder}/{name}".lstrip("/"), gguf_file=not settings.on_gpu)
        if what is not None:
            return f"{place}: {name} is {what}"
    return None


def _hugging_face(settings: Settings, files: list[weights.File], place: str) -> list[str]:
    model = weights.find_hugging_face(files, place)
    if model.folder and settings.container != "sluice":
        raise StartError(
            f"{place}: the model is in the folder {model.folder}; let the setting weights end in "
            f"{model.folder}/"
        )
    weights.check_hugging_face(model.names, place)
    weights.check_tokenizer(model.names, place)
    return sorted(f"{model.folder}/{name}".lstrip("/") for name in model.names)


def _looked_at(s3: Any, bucket: str, key: str, *, gguf_file: bool) -> str | None:
    """Return the fault that an object's first bytes show; None if there is none or they cannot be
    read.
    """
    from botocore.exceptions import ClientError

    try:
        first = s3.get_object(Bucket=bucket, Key=key, Range="bytes=0-511")["Body"].read()
    except ClientError:
        return None  # the deployer need not be allowed to read the weights
    if gguf_file and not first.startswith(gguf.MAGIC):
        return gguf.foreign(first) or "not a GGUF file"
    return gguf.foreign(first) if first.startswith(b"version https://git-lfs") else None
