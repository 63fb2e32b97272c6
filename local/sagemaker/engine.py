"""The container engine of this machine.

This module finds the engine that answers, and removes the containers that a killed local cloud left
in it.
"""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

ENGINES = ("docker", "podman")
# Both variables name the engine. The CDK CLI uses the second one to build image assets.
NAMED_BY = ("SLUICE_CONTAINER_ENGINE", "CDK_DOCKER")
# A label of each container: the folder of the local cloud that started it.
LABEL = "sluice.local"
# The name of a file in that folder. It exists while an engine may have containers of this local
# cloud.
_MARK = "engine"
# In seconds. An engine that was just started may need several seconds for its first answer.
_ANSWER_S = 30.0


class EngineError(Exception):
    """No engine can run containers. The message is one line."""


def find(environment: Mapping[str, str] = os.environ) -> str:
    """Return the engine that `environment` names, else docker or podman, whichever answers first.

    Raises EngineError with the reason of each engine.
    """
    named = next((environment[name] for name in NAMED_BY if environment.get(name)), None)
    reasons = []
    for engine in (named,) if named else ENGINES:
        reason = refusal(engine)
        if reason is None:
            return engine
        reasons.append(f"{engine}: {reason}")
    raise EngineError(
        f"No container engine answers ({'; '.join(reasons)}). Install podman or docker, or "
        f"name one in {NAMED_BY[0]}."
    )


def refusal(engine: str) -> str | None:
    """Return the reason why an engine cannot be used, None if it can."""
    if shutil.which(engine) is None:
        return "not installed"
    try:
        completed = subprocess.run(
            [engine, "info"], capture_output=True, text=True, errors="replace", timeout=_ANSWER_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if completed.returncode == 0:
        return None
    return next(iter(completed.stderr.strip().splitlines()[-1:]), f"`{engine} info` failed")


def client_environment() -> dict[str, str]:
    """Return the environment of the engine's own command.

    It has no AWS variables, and no proxies, which the engine would pass on to containers.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }


def remember(directory: Path, engine: str) -> None:
    """Note that the local cloud in `directory`, if it is killed, may leave containers behind."""
    (directory / _MARK).write_text(engine)


def sweep(directory: Path) -> int:
    """Remove the containers that a local cloud in `directory` left behind; return their number.

    The local cloud must not be running.

    Raises EngineError if their engine does not remove them.
    """
    mark = directory / _MARK
    if not mark.exists():
        return 0
    engine = mark.read_text()
    ids = _ask(engine, "ps", "--all", "--quiet", "--filter", f"label={LABEL}={directory}").split()
    if ids:
        _ask(engine, "rm", "--force", *ids)
    mark.unlink()
    return len(ids)


def _ask(engine: str, *arguments: str) -> str:
    try:
        return subprocess.run(
            [engine, *arguments],
            env=client_environment(),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=60,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise EngineError(
            f"{engine} {arguments[0]} failed: {getattr(error, 'stderr', None) or error}".strip()
        ) from None
