"""AWS's Deep Learning Containers for language models, as images.json names them (refresh.py writes it)."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class DeepLearningContainer:
    """One kind of container: its image in each region, and the CUDA version in it."""

    cuda: tuple[int, int]
    uris: dict[str, str]

    @property
    def repository(self) -> str:
        """The repository's name, the same everywhere."""
        return next(iter(self.uris.values())).partition("/")[2].partition(":")[0]


@cache
def containers() -> dict[str, DeepLearningContainer]:
    """All kinds by our name for them."""
    found = json.loads(Path(__file__).with_name("images.json").read_text())["containers"]
    return {name: DeepLearningContainer(cuda=_version(item["cuda"]), uris=item["uris"]) for name, item in found.items()}


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
