"""A GGUF model of this machine, served by the local cloud: `sluice up --model`.

The stack reads the model from S3, as on AWS. The objects in the local S3 are empty, and links below
`.local/` say which files they stand for, because models are too large to be held in moto's memory.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.lib.project import LOCAL, CommandError, UsageError
from local.sagemaker.weights import LINKED
from model import gguf, weights
from model.errors import StartError
from model.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

BUCKET = "sluice-local-model"
TEMPLATE = "chat_template.jinja"
_OWN = ("container", "engine", "endpoint_name", "image_uri", "weights", "weights_sha256")
_PARALLEL = 4
_SMALLEST = 2048
_UNKNOWN = 4096
"""The context, in tokens, for a file that does not say how many bytes a token of context takes."""
_LARGEST = 1_048_576
_STARTUP_SECONDS = "1800"
_SHARE = 2
"""The cache may take the memory that the weights leave, divided by this number."""


@dataclass(frozen=True)
class LocalModel:
    """A model's files by their names below its folder, and the settings with which it is served."""

    prefix: str
    files: Mapping[str, Path]
    context: Mapping[str, str]

    @property
    def says(self) -> str:
        """The model and its main settings, in a few words."""
        context = self.context
        tokens = _number(context, "context_tokens")
        shown = context["context_tokens"] if tokens is None else f"{tokens:,}"
        return (
            f"{context['model_name']}: {shown} tokens of context, "
            f"{context['parallel']} answers at once"
        )

    def link(self, s3: Any) -> None:
        """Make the objects in the local S3, and the links to the files.

        Args:
            s3: boto3's client of the local cloud.

        Raises:
            CommandError: the links cannot be made.

        """
        root = LOCAL / LINKED
        try:
            shutil.rmtree(root, ignore_errors=True)
            for name, path in self.files.items():
                link = root / BUCKET / self.prefix / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)
        except OSError as error:
            raise CommandError(f"{root}: {error.strerror}") from None
        s3.create_bucket(Bucket=BUCKET)
        for name in self.files:
            s3.put_object(Bucket=BUCKET, Key=f"{self.prefix}/{name}", Body=b"")


def of(
    path: Path, template: Path | None, changes: Mapping[str, str], *, memory: int | None = None
) -> LocalModel:
    """Read a model's metadata, and choose the settings with which this machine can serve it.

    Args:
        path: A GGUF file, one part of a split model, or a folder with one model.
        template: A file with a chat template to be used instead of the model's own.
        changes: Settings that are given, which come before those that are chosen here.
        memory: The bytes of memory that the model may use. None: what is free.

    Raises:
        UsageError: the file is no model that can be served, or a setting contradicts it.
        CommandError: there is too little memory for it.

    """
    for name in _OWN:
        if name in changes:
            raise UsageError(f"--model and -c {name}: the model decides that. Leave one out.")
    path = path.expanduser()  # `make` and some shells leave a tilde as it is
    template = None if template is None else template.expanduser()
    if str(path).startswith(("https:/", "http:/")):  # `Path` shortens `//` to `/`
        raise UsageError(
            "--model takes the path of a file or a folder, and not a URL. Download the file, and "
            "pass its path."
        )
    if not path.exists():
        raise UsageError(f"--model {path}: there is no such file or folder.")
    try:
        files, head = _found(path)
        if template is not None:
            text = Settings(chat_template=template.absolute()).read_template()
            assert text is not None  # noqa: S101 - it is set
    except StartError as error:
        raise UsageError(str(error).replace("SLUICE_CHAT_TEMPLATE", "--chat-template")) from None
    if head.template is None and template is None:
        raise UsageError(
            f"{next(iter(files.values()))}: the file has no chat template, so nothing says how the "
            "model reads a conversation. Name the file of one by --chat-template FILE "
            "(make up MODEL=... TEMPLATE=FILE); the model's page has it, often as "
            "chat_template.jinja. A model that is not made for chats has none."
        )
    size = sum(it.stat().st_size for it in files.values())
    context = _fitting(head, size, changes, _free_memory() if memory is None else memory)
    environment = {"SLUICE_ENGINE_THREADS": str(max(1, min(256, _cores() - 1)))}
    if template is not None:
        files[TEMPLATE] = template.resolve()
        environment["SLUICE_CHAT_TEMPLATE"] = TEMPLATE
    environment |= _given_environment(changes)
    prefix = _prefix(files)
    chosen = {
        "model_name": _name(path),
        "tokens_per_second": "0",
        "startup_seconds": _STARTUP_SECONDS,
        **context,
        **changes,
        "environment": json.dumps(environment),
        "weights": f"s3://{BUCKET}/{prefix}/",
    }
    return LocalModel(prefix, files, chosen)


def _found(path: Path) -> tuple[dict[str, Path], gguf.Head]:
    """Return a model's files by their names, and its metadata.

    Raises StartError.
    """
    chosen = None
    if path.is_dir():
        folder, listed = path, weights.files_in(path)
    else:
        folder, chosen = path.parent, path.name
        names = [it.name for it in folder.iterdir()] if weights.is_part(path.name) else [path.name]
        listed = [weights.File(name, 1) for name in names if (folder / name).is_file()]
    if chosen is not None and not chosen.lower().endswith(".gguf"):
        # Ollama keeps models under names without an ending.
        head = weights.GgufModel((chosen,)).check(folder)
        return {"model.gguf": path.resolve()}, head

    def kind(name: str) -> str:
        try:
            return gguf.read_head(folder / name).kind
        except (OSError, ValueError):
            return "model"

    if not weights.is_part(path.name):
        chosen = None  # it is the only one that is listed
    remedy = f"name the file of one: --model {folder}/FILE"
    model = weights.find_gguf(listed, str(folder), chosen, kind, remedy=remedy)
    head = model.check(folder)
    return {Path(name).name: (folder / name).resolve() for name in model.parts}, head


def _fitting(head: gguf.Head, size: int, changes: Mapping[str, str], memory: int) -> dict[str, str]:
    """Return the context and the number of answers at once for which there is memory.

    Raises CommandError.
    """
    longest = min(head.context or _UNKNOWN, _LARGEST)
    given = _number(changes, "context_tokens")
    if given is not None and head.context is not None and given > head.context:
        raise UsageError(
            f"context_tokens={given}: the model has a context of {head.context} tokens. Set that, "
            "or less."
        )
    if size > memory:
        raise CommandError(
            f"The model has {size / 1e9:.1f} GB, and {memory / 1e9:.1f} GB of memory are free. Free "
            "some, or take a smaller model or quantization."
        )
    if head.cache_bytes is None:
        return {"context_tokens": str(min(longest, _UNKNOWN)), "parallel": "1"}
    room = (memory - size) // _SHARE // head.cache_bytes
    wanted = given or min(longest, _SMALLEST)
    parallel = _number(changes, "parallel") or (_PARALLEL if room >= _PARALLEL * wanted else 1)
    context = min(longest, max(room // parallel // 256 * 256, min(longest, _SMALLEST)))
    return {"context_tokens": str(context), "parallel": str(parallel)}


def _number(changes: Mapping[str, str], name: str) -> int | None:
    """Return a whole number among the given settings, or None. Other values are rejected later."""
    text = changes.get(name, "")
    return int(text) or None if text.isascii() and text.isdigit() else None


def _given_environment(changes: Mapping[str, str]) -> dict[str, str]:
    try:
        given = json.loads(changes.get("environment", "{}"))
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise UsageError('environment: must be a JSON object of texts: {"NAME": "value"}')
    return given


def _name(path: Path) -> str:
    """Return a name under which requests may ask for the model."""
    stem = path.name if path.is_dir() else re.sub(r"(?i)\.gguf$", "", path.name)
    stem = re.sub(r"-\d{1,5}-of-\d{1,5}$", "", stem)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._")[:64] or "model"


def _prefix(files: Mapping[str, Path]) -> str:
    """Return a prefix that changes with the files, so that a changed file is deployed again."""
    digest = hashlib.sha256()
    for name, path in files.items():
        status = path.stat()
        digest.update(f"{name}\0{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()[:16]


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


def _free_memory() -> int:
    """Return the bytes of memory that are free, or can be freed; without Linux, half of all."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(it.split()[1]) * 1024 for it in lines if it.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
