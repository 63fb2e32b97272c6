"""The base images of model/Dockerfile: which are pinned, and pinning them by what their registry says: `make digests`.

A tag is what its owner makes of it each day; a digest is the content. Docker Hub is asked, without an account.
"""

import json
import re
import sys
import urllib.request
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "model/Dockerfile"
_BASE = re.compile(
    r"^(?P<argument>ARG \w*BASE_IMAGE=)(?P<image>[^\s@]+)(?P<digest>@sha256:[0-9a-f]{64})?$", re.MULTILINE
)
_MANIFESTS = (
    "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "
    "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
)
_TIMEOUT = 30


def unpinned(dockerfile: str) -> list[str]:
    """Return the base images of a Dockerfile's text that only a tag names."""
    return [found["image"] for found in _BASE.finditer(dockerfile) if found["digest"] is None]


def pinned(dockerfile: str, digests: dict[str, str]) -> str:
    """Return the text with each base image at its digest (`sha256:...`); the tag stays for who reads it."""
    return _BASE.sub(lambda found: f"{found['argument']}{found['image']}@{digests[found['image']]}", dockerfile)


def digest(image: str) -> str:
    """Ask Docker Hub for the digest of `repository:tag`, that of the index of all platforms. Raises OSError."""
    name, _, tag = image.partition(":")
    repository = name if "/" in name else f"library/{name}"
    token = f"https://auth.docker.io/token?service=registry.docker.io&scope=repository:{repository}:pull"
    with urllib.request.urlopen(token, timeout=_TIMEOUT) as reply:
        bearer = json.load(reply)["token"]
    headers = {"Authorization": f"Bearer {bearer}", "Accept": _MANIFESTS}
    url = f"https://registry-1.docker.io/v2/{repository}/manifests/{tag or 'latest'}"
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="HEAD"), timeout=_TIMEOUT) as reply:
        found: str = reply.headers["Docker-Content-Digest"]
    return found


def main() -> int:
    """Pin all base images to what their tags are now."""
    text = DOCKERFILE.read_text()
    images = [found["image"] for found in _BASE.finditer(text)]
    try:
        digests = {image: digest(image) for image in images}
    except OSError as error:
        print(f"Docker Hub cannot be asked: {error}. Nothing was changed.", file=sys.stderr)
        return 1
    DOCKERFILE.write_text(pinned(text, digests))
    for image, found in digests.items():
        print(f"{image} is {found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
