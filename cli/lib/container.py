"""Build the container's image for `sluice up --container`."""

import os
import subprocess
from pathlib import Path

from cli.lib.process import run_logged
from cli.lib.project import CommandError
from cli.lib.terminal import Detail
from infra.settings.deployment import local

DOCKERFILE = "model/Dockerfile"
BASE_IMAGE = "SLUICE_BASE_IMAGE"
"""The variable that names a base image to use if the Dockerfile's cannot be pulled."""


def engine() -> str:
    """Return the container engine that answers: docker or podman.

    Raises:
        CommandError: neither answers.

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
        log: The file that the output is appended to.
        detail: Called with each line of the output.

    Returns:
        The image's name, for the setting `image_uri`. Its tag is the hash of the image, so a
        deployment replaces a container only if its image has changed.

    Raises:
        CommandError: the engine failed; the message has the last lines of its output.

    """
    repository = str(local().image_uri).rpartition(":")[0]
    base = os.environ.get(BASE_IMAGE)
    arguments = ["--build-arg", f"BASE_IMAGE={base}"] if base else []
    newest = f"{repository}:newest"
    try:
        _run([engine, "build", "--file", DOCKERFILE, "--tag", newest, *arguments, "."], log, detail)
    except CommandError as error:
        remedy = (
            f"{BASE_IMAGE} is {base}: if that cannot be pulled, set it to another image."
            if base
            else f"If the image's base cannot be pulled, set {BASE_IMAGE} to another one."
        )
        raise CommandError(f"{error}\n  {remedy}", log=error.log) from None
    identity = subprocess.run(
        [engine, "image", "inspect", "--format", "{{.Id}}", newest],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    image = f"{repository}:{identity.removeprefix('sha256:')[:12]}"
    _run([engine, "tag", newest, image], log, detail)
    return image


def _run(command: list[str], log: Path, detail: Detail) -> None:
    run_logged(command, name=f"{command[0]} {command[1]}", log=log, detail=detail)
