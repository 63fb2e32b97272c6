"""AWS's Deep Learning Containers for language models.

They are read from images.json, which refresh.py writes.
"""

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
        """The repository's name. It is the same in each region."""
        return next(iter(self.uris.values())).partition("/")[2].partition(":")[0]


@cache
def containers() -> dict[str, DeepLearningContainer]:
    """Return all kinds of container, by our names."""
    listed = json.loads(Path(__file__).with_name("images.json").read_text())["containers"]
    return {
        name: DeepLearningContainer(cuda=_version(item["cuda"]), uris=item["uris"])
        for name, item in listed.items()
    }


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")
    return int(major), int(minor)
