"""Builds the container's image, for `sluice up --container`."""

import os
import subprocess
from collections import deque
from pathlib import Path

from cli.lib.project import ROOT, CommandError
from cli.lib.terminal import Detail
from infra.settings.deployment import local

DOCKERFILE = "model/Dockerfile"
BASE_IMAGE = "SLUICE_BASE_IMAGE"
"""Names another base image than the Dockerfile's, for where that one cannot be pulled."""


def engine() -> str:
    """Give the container engine that answers.

    Raises:
        CommandError: none does.

    """
    from local.sagemaker.engine import EngineError, find

    try:
        return find()
    except EngineError as error:
        raise CommandError(str(error)) from None


def build(engine: str, *, log: Path, detail: Detail) -> str:
    """Build the image with an engine.

    Args:
        engine: docker or podman.
        log: The file that its output is appended to.
        detail: Is told each line.

    Returns:
        The image's name, for the setting `image_uri`. It says what is in the image, as the names of CDK's assets do,
        so that a deployment replaces a container whose image has changed and leaves another one alone.

    Raises:
        CommandError: it failed; the message has its last lines.

    """
    repository = str(local().image_uri).rpartition(":")[0]
    base = os.environ.get(BASE_IMAGE)
    arguments = ["--build-arg", f"BASE_IMAGE={base}"] if base else []
    newest = f"{repository}:newest"
    _run([engine, "build", "--file", DOCKERFILE, "--tag", newest, *arguments, "."], log, detail)
    identity = subprocess.run(
        [engine, "image", "inspect", "--format", "{{.Id}}", newest], capture_output=True, text=True, check=True
    ).stdout.strip()
    image = f"{repository}:{identity.removeprefix('sha256:')[:12]}"
    _run([engine, "tag", newest, image], log, detail)
    return image


def _run(command: list[str], log: Path, detail: Detail) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch(mode=0o600)  # what is deployed is nobody else's to read
    last: deque[str] = deque(maxlen=6)
    with (
        log.open("a") as file,
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None  # noqa: S101 (it is a pipe)
        for line in process.stdout:
            file.write(line)
            if plain := line.strip():
                last.append(plain)
                detail(plain)
    if process.returncode:
        raise CommandError(f"{command[0]} {command[1]} failed:\n    " + "\n    ".join(last), log=log)
