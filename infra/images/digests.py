"""Pin the base images of model/Dockerfile by their digests: `make digests`.

A tag may name another image tomorrow; a digest names the content. docker reads the digest from the
image's registry, with the user's credentials.
"""

import re
import subprocess
import sys
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "model/Dockerfile"
_BASE = re.compile(
    r"^(?P<argument>ARG \w*BASE_IMAGE=)(?P<image>[^\s@]+)(?P<digest>@sha256:[0-9a-f]{64})?$",
    re.MULTILINE,
)
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
_TIMEOUT = 60


def base_of(target: str, dockerfile: str) -> str:
    """Return the base image of a target of the Dockerfile's text: `cpu` or `gpu`.

    It is empty if the text does not name one.
    """
    argument = "ARG GPU_BASE_IMAGE=" if target == "gpu" else "ARG BASE_IMAGE="
    found = {
        it["argument"]: it["image"] + (it["digest"] or "") for it in _BASE.finditer(dockerfile)
    }
    return found.get(argument, "")


def tag_of(target: str, dockerfile: str) -> str | None:
    """Return the base image of a target if it has only a tag, else None."""
    base = base_of(target, dockerfile)
    return base if base and "@" not in base else None


def pinned(dockerfile: str, digests: dict[str, str]) -> str:
    """Return the Dockerfile's text with each base image pinned to its digest (`sha256:...`).

    The tags stay for readers.
    """
    return _BASE.sub(
        lambda found: f"{found['argument']}{found['image']}@{digests[found['image']]}", dockerfile
    )


def digest(image: str) -> str:
    """Return the digest of `repository:tag` from its registry.

    It is that of the index of all platforms.

    Raises:
        OSError: docker is missing, or the registry does not answer.

    """
    command = [
        "docker",
        "buildx",
        "imagetools",
        "inspect",
        "--format",
        "{{.Manifest.Digest}}",
        image,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT)
    printed = done.stdout.strip()
    if _DIGEST.fullmatch(printed) is None:
        raise OSError(
            done.stderr.strip().rpartition("\n")[2] or f"docker printed no digest of {image}"
        )
    return printed


def main() -> int:
    """Pin each base image to the content that its tag names now. Return the exit status."""
    text = DOCKERFILE.read_text()
    images = [found["image"] for found in _BASE.finditer(text)]
    try:
        digests = {image: digest(image) for image in images}
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"The registry does not answer: {error}. Nothing was changed.", file=sys.stderr)
        return 1
    DOCKERFILE.write_text(pinned(text, digests))
    for image, found in digests.items():
        print(f"{image} is {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
