"""The model's image, and the stacks in a local cloud that runs it, by the real CDK CLI."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.cloud import LocalCloud
from local.sagemaker.engine import LABEL


@dataclass(frozen=True)
class Engine:
    """The container engine, called directly."""

    name: str

    def ask(self, *arguments: str) -> str:
        """Run one of the engine's commands. Return what it prints."""
        return subprocess.run(
            [self.name, *arguments], capture_output=True, text=True, check=True
        ).stdout

    def containers(self, directory: Path) -> list[dict[str, Any]]:
        """Return all containers that the local cloud of a folder has started."""
        found = self.ask("ps", "--all", "--quiet", "--filter", f"label={LABEL}={directory}").split()
        return list(json.loads(self.ask("inspect", *found))) if found else []


@dataclass(frozen=True)
class Deployed:
    """The stacks in the local cloud."""

    cloud: LocalCloud
    outputs: dict[str, str]
    key: str


def quiet(_line: str) -> None:
    """Discard a line of progress."""
