"""Finds the weights among the files of a model, or says in one sentence why there are none.

Everything but `files_in` and `GgufModel.check` is pure: it reads the names and sizes of files. So
the command and the synthesis can make the container's checks before a deployment.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from model import gguf
from model.errors import StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

_MAX_FILES = 20_000
_SHOWN = 4
"""The number of names that a message has at most."""
_SKIPPED = {"blobs", "refs", "__MACOSX"}
"""Folders of Hugging Face's cache, whose files are found below `snapshots`, and of macOS."""
_PART = re.compile(r"(.+)-(\d{1,5})-of-(\d{1,5})\.gguf", re.IGNORECASE)
_JOINED = re.compile(r".+\.gguf([.-](part|split)[-_.]?\w{1,8}|\.\d{1,3})", re.IGNORECASE)
_UNFINISHED = (".part", ".partial", ".incomplete", ".crdownload", ".download", ".aria2", ".tmp")
_ARCHIVES = (
    ".zip", ".7z", ".rar", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst", ".gz",
    ".bz2", ".xz", ".zst",
)  # fmt: skip
_TENSORS = (".safetensors", ".bin", ".pt", ".pth")
_CHOOSE = (
    "choose one by SLUICE_WEIGHTS_FILE (in the setting environment), or let the setting weights "
    "name that file or its folder"
)
_SIDECARS = {
    "mmproj": "a projector of images (mmproj)",
    "adapter": "a LoRA adapter",
    "imatrix": "an importance matrix",
    "vocabulary": "a vocabulary without tensors",
}


class File(NamedTuple):
    """A file by its path below the model's folder, and its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True)
class GgufModel:
    """The parts of one GGUF model in order, as paths below its folder. Most have one part."""

    parts: tuple[str, ...]

    def check(self, folder: Path) -> gguf.Head:
        """Return the metadata of the first part.

        Raises StartError if a part is not a GGUF file, or not the part that its name says.
        """
        heads = []
        for number, name in enumerate(self.parts):
            try:
                head = gguf.read_head(folder / name)
            except OSError as error:
                raise StartError(f"{folder / name}: {error.strerror}") from None
            except ValueError as error:
                raise StartError(f"{folder / name}: the file is {error}") from None
            if head.parts == 1 < len(self.parts):
                raise StartError(
                    f"{folder / name}: the file is a whole model, and its name says that it is one "
                    f"of {len(self.parts)} parts; rename it"
                )
            if (head.part, head.parts) != (number, len(self.parts)):
                raise StartError(
                    f"{folder / name}: the file is part {head.part + 1} of {head.parts} of a split "
                    "model, and its name says otherwise; keep the names that llama-gguf-split gave "
                    "(…-00001-of-00003.gguf), or join all parts by `llama-gguf-split --merge`"
                )
            heads.append(head)
        if heads[0].kind != "model":
            raise StartError(f"{folder / self.parts[0]}: {_SIDECARS[heads[0].kind]}, not a model")
        if not heads[0].tokenizer:
            raise StartError(
                f"{folder / self.parts[0]}: the file has no tokenizer; convert the model again, "
                "with its tokenizer beside it"
            )
        return heads[0]


def files_in(folder: Path) -> list[File]:
    """Return the files below a folder; links are followed.

    Raises StartError.
    """
    found: list[File] = []
    seen: set[tuple[int, int]] = set()

    def failed(error: OSError) -> None:
        if error.filename == str(folder):
            raise StartError(f"{folder}: {error.strerror}") from None

    for place, folders, names in os.walk(folder, followlinks=True, onerror=failed):
        state = os.stat(place)  # noqa: PTH116 - os.walk has texts
        if (state.st_dev, state.st_ino) in seen:
            folders.clear()  # a link leads back here
            continue
        seen.add((state.st_dev, state.st_ino))
        if os.path.basename(place) == "snapshots":  # noqa: PTH119
            folders[:] = _current(place, folders)
        folders.sort()
        for name in sorted(names):
            path = os.path.join(place, name)  # noqa: PTH118
            try:
                size = os.stat(path).st_size  # noqa: PTH116
            except OSError:
                size = -1  # a link to nothing
            found.append(File(os.path.relpath(path, folder), size))
            if len(found) > _MAX_FILES:
                raise StartError(
                    f"{folder}: more than {_MAX_FILES:,} files; name the model's own folder, or its file"
                )
    return found


def _current(snapshots: str, revisions: list[str]) -> list[str]:
    """Return the revision of Hugging Face's cache that `main` names, or all of them."""
    try:
        with open(os.path.join(snapshots, "..", "refs", "main"), encoding="ascii") as file:  # noqa: PTH118, PTH123
            main = file.read(100).strip()
    except (OSError, ValueError):
        return revisions
    return [main] if main in revisions else revisions


def find_gguf(
    files: Sequence[File],
    place: str,
    chosen: str | None = None,
    kind: Callable[[str], str] = lambda name: "model",
    *,
    remedy: str = _CHOOSE,
) -> GgufModel:
    """Return the one GGUF model among the files.

    Args:
        files: All files, by their paths below `place`.
        place: The folder or the address of the files, for messages.
        chosen: The file to take: its path below `place`, or its name. None: there must be one.
        kind: Returns the kind of a GGUF file, as `gguf.Head.kind`. It is called if the name does
            not tell.
        remedy: How to choose one of several, for messages.

    Raises StartError that names what is missing, or what there is to choose from.
    """
    visible = [it for it in files if not _hidden(it.name)]
    names = [it.name for it in visible if it.name.lower().endswith(".gguf")]
    if dangling := [it.name for it in visible if it.size < 0 and it.name in names]:
        raise StartError(f"{place}: {_list(dangling)}: a link to a file that is not there")
    sidecars: dict[str, str] = {}
    models: dict[tuple[str, int], dict[int, str]] = defaultdict(dict)
    for name in names:
        if (what := _kind(name, kind)) != "model":
            sidecars[name] = what
        elif (part := _PART.fullmatch(name)) is not None:
            models[part[1].lower(), int(part[3])].setdefault(int(part[2]), name)
        else:
            models[name.lower(), 0][1] = name
    found = {parts[min(parts)]: key for key, parts in models.items()}
    if chosen is not None:
        found = _chosen(found, models, place, chosen)
    if not found:
        why = _why(files, visible, sidecars)
        raise StartError(f"{place}: exactly one GGUF model is needed, there is none{why}")
    if len(found) > 1:
        raise StartError(
            f"{place}: exactly one GGUF model is needed, there are {_list(sorted(found))}; {remedy}"
        )
    ((first, key),) = found.items()
    return _whole(place, first, key[1], models[key])


def _kind(name: str, kind: Callable[[str], str]) -> str:
    last = name.rpartition("/")[2].lower()
    if "mmproj" in last:
        return "mmproj"
    return "imatrix" if last.startswith("imatrix") else kind(name)


def _chosen(
    found: dict[str, tuple[str, int]],
    models: dict[tuple[str, int], dict[int, str]],
    place: str,
    chosen: str,
) -> dict[str, tuple[str, int]]:
    def is_it(name: str) -> bool:
        return chosen in (name, name.rpartition("/")[2])

    taken = {first: key for first, key in found.items() if any(map(is_it, models[key].values()))}
    if not taken:
        raise StartError(
            f"{place}: there is no model {chosen} (SLUICE_WEIGHTS_FILE), there is "
            f"{_list(sorted(found)) or 'none'}"
        )
    return taken


def _whole(place: str, first: str, count: int, parts: dict[int, str]) -> GgufModel:
    """Return the model if it has all its parts."""
    if count == 0:
        return GgufModel((first,))
    match = _PART.fullmatch(first)
    assert match is not None  # noqa: S101 - it was found by this pattern
    missing = [
        f"{match[1]}-{number:0{len(match[2])}}-of-{match[3]}.gguf"
        for number in range(1, min(count, _MAX_FILES) + 1)
        if number not in parts
    ]
    if missing or len(parts) != count:
        raise StartError(
            f"{place}: {first} is of a model of {count} parts, and {_list(missing) or 'one'} is not "
            "there; put all parts side by side"
        )
    return GgufModel(tuple(parts[number] for number in range(1, count + 1)))


def _why(files: Sequence[File], visible: Sequence[File], sidecars: dict[str, str]) -> str:
    """Return why there is no GGUF model, as the end of a sentence."""
    names = [it.name for it in visible]
    if unfinished := _ending((it.name for it in files), _UNFINISHED):
        return f"; {_list(unfinished)}: an unfinished download, fetch it again"
    if joined := [name for name in names if _JOINED.fullmatch(name)]:
        return f"; {_list(joined)}: pieces of one file, join them (cat A B > model.gguf)"
    if archives := _ending(names, _ARCHIVES):
        return f"; {_list(archives)}: an archive, unpack it first"
    if sidecars:
        name, what = next(iter(sidecars.items()))
        return f"; {name} is {_SIDECARS[what]}, and the model itself is missing"
    if tensors := _ending(names, _TENSORS):
        return (
            f"; {_list(tensors)}: a Hugging Face model; set engine=vllm, or convert it to GGUF "
            "(convert_hf_to_gguf.py)"
        )
    return f"; there is {_list(names)}" if names else ""


def is_part(name: str) -> bool:
    """Return whether a file is one of several parts by its name."""
    part = _PART.fullmatch(name)
    return part is not None and int(part[3]) > 1


class HuggingFaceModel(NamedTuple):
    """A Hugging Face model: its folder below the place, empty if it is the place, and its files."""

    folder: str
    names: frozenset[str]


def find_hugging_face(files: Sequence[File], place: str) -> HuggingFaceModel:
    """Return the folder of the one Hugging Face model among the files.

    Raises StartError that names what is missing.
    """
    visible = [it for it in files if not _hidden(it.name)]
    folders: dict[str, set[str]] = defaultdict(set)
    for it in visible:
        folder, _, name = it.name.rpartition("/")
        folders[folder].add(name)
    found = [
        folder
        for folder, names in sorted(folders.items())
        if names & {"config.json", "params.json"} and folder.rpartition("/")[2] != "original"
    ]
    if "" in found:
        found = [""]
    with_weights = [it for it in found if _ending(folders[it], _TENSORS)]
    if len(found := with_weights or found) > 1:
        raise StartError(
            f"{place}: one Hugging Face model is needed, there are {_list(found)}; let the setting "
            "weights name the folder of one"
        )
    if not found:
        raise StartError(f"{place}: {_why_no_hugging_face(files)}")
    (folder,) = found
    return HuggingFaceModel(folder, frozenset(folders[folder]))


def check_hugging_face(names: frozenset[str], place: str) -> None:
    """Raise StartError if the names of a model's files show that it is not complete."""
    if unfinished := _ending(names, _UNFINISHED):
        raise StartError(f"{place}: {_list(unfinished)}: an unfinished download, fetch it again")
    if (missing := _missing_shards(names)) and not any(it.endswith(".index.json") for it in names):
        raise StartError(f"{place}: {_list(missing)} is missing beside the other parts")
    if not _ending(names, _TENSORS):
        if _ending(names, (".gguf",)):
            raise StartError(
                f"{place}: the weights are GGUF, which vLLM does not load from here; set "
                "engine=llama_cpp, or put *.safetensors there"
            )
        if not any(it.endswith(".index.json") for it in names):
            raise StartError(f"{place}: no weights (*.safetensors)")


def check_tokenizer(names: frozenset[str], place: str) -> None:
    """Raise StartError if no file among the names of a model's files is a tokenizer."""
    begins = ("tokenizer", "tekken", "vocab", "spiece")
    if not any(it.startswith(begins) or it.endswith((".tiktoken", ".model")) for it in names):
        raise StartError(
            f"{place}: no tokenizer (tokenizer.json, tokenizer.model or tekken.json); put it beside "
            "the weights"
        )


_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.(safetensors|bin)")


def _missing_shards(names: Iterable[str]) -> list[str]:
    """Return the parts of split weights that are missing by the numbers in the names."""
    groups: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    for name in names:
        if (part := _SHARD.fullmatch(name)) is not None:
            groups[part[1], part[3], part[4]].add(int(part[2]))
    return [
        f"{prefix}-{number:05}-of-{count}.{suffix}"
        for (prefix, count, suffix), there in sorted(groups.items())
        for number in range(1, min(int(count), _MAX_FILES) + 1)
        if number not in there
    ]


def _why_no_hugging_face(files: Sequence[File]) -> str:
    names = [it.name for it in files]
    if any(name.rpartition("/")[2] == "adapter_config.json" for name in names):
        return (
            "a LoRA adapter (adapter_config.json), and the model itself is missing; let the setting "
            "weights name the base model, and SLUICE_LORA_ADAPTERS the adapter"
        )
    if ggufs := _ending(names, (".gguf",)):
        return f"no config.json: {_list(ggufs)} is a GGUF model, which engine=llama_cpp serves"
    if unfinished := _ending(names, _UNFINISHED):
        return f"no config.json: {_list(unfinished)}: an unfinished download, fetch it again"
    if archives := _ending(names, _ARCHIVES):
        return f"no config.json: {_list(archives)}: an archive, unpack it first"
    return "no config.json: this is not a Hugging Face model"


def _hidden(name: str) -> bool:
    parts = name.split("/")
    return any(part.startswith(".") for part in parts) or not _SKIPPED.isdisjoint(parts[:-1])


def _ending(names: Iterable[str], ends: tuple[str, ...]) -> list[str]:
    return sorted(name for name in names if name.lower().endswith(ends))


def _list(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown
