"""The container engine of this machine: which one answers, and what a local cloud that was killed left in it."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

ENGINES = ("docker", "podman")
# Either names the engine; the second one is what the CDK CLI goes by when it builds image assets.
NAMED_BY = ("SLUICE_CONTAINER_ENGINE", "CDK_DOCKER")
# On each container: the folder of the local cloud that started it.
LABEL = "sluice.local"
# In that folder, as long as containers of an engine may be there.
_MARK = "engine"
# An engine that has just been started may need some seconds for its first answer.
_ANSWER_S = 30.0


class EngineError(Exception):
    """There is no engine to run containers with; the message is one line."""


def find(environment: Mapping[str, str] = os.environ) -> str:
    """The engine that is named in `environment`, else docker or podman, whichever answers first.

    Raises EngineError with each one's own reason.
    """
    named = next((environment[name] for name in NAMED_BY if environment.get(name)), None)
    reasons = []
    for engine in (named,) if named else ENGINES:
        reason = refusal(engine)
        if reason is None:
            return engine
        reasons.append(f"{engine}: {reason}")
    raise EngineError(
        f"No container engine answers ({'; '.join(reasons)}). Install podman or docker, or name one in {NAMED_BY[0]}."
    )


def refusal(engine: str) -> str | None:
    """Why an engine cannot be used, None if it can."""
    if shutil.which(engine) is None:
        return "not installed"
    try:
        done = subprocess.run([engine, "info"], capture_output=True, text=True, errors="replace", timeout=_ANSWER_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    return next(iter(done.stderr.strip().splitlines()[-1:]), f"`{engine} info` failed")


def client_environment() -> dict[str, str]:
    """What the engine's own command sees of ours: no AWS, and no proxies, which it would hand on to containers."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("AWS_") and not name.lower().endswith("_proxy")
    }


def remember(directory: Path, engine: str) -> None:
    """Note that containers of `engine` may be left over if the local cloud in `directory` is killed."""
    (directory / _MARK).write_text(engine)


def sweep(directory: Path) -> int:
    """Remove the containers that a local cloud in `directory` left behind; how many there were.

    Raises EngineError if the engine that has them does not do it. None may be running there.
    """
    mark = directory / _MARK
    if not mark.exists():
        return 0
    engine = mark.read_text()
    found = _ask(engine, "ps", "--all", "--quiet", "--filter", f"label={LABEL}={directory}").split()
    if found:
        _ask(engine, "rm", "--force", *found)
    mark.unlink()
    return len(found)


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
