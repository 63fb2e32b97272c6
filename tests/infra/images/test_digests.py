"""The container's base images."""

from pathlib import Path

import pytest
from aws_cdk.assertions import Annotations, Match

from infra.compose import compose
from infra.images import digests
from infra.settings.deployment import DEV
from tests.support.synthesis import new_app

DIGEST = "sha256:" + "0123456789abcdef" * 4
TEXT = (
    "ARG BASE_IMAGE=python:3.13-slim\nARG GPU_BASE_IMAGE=org/gpu:v1\nARG OTHER=x:1\nFROM "
    "${BASE_IMAGE}\n"
)


def test_a_base_is_pinned_by_its_digest() -> None:
    """A base image that only a tag names is reported. A pinned one is not.

    An image that is pinned again keeps its tag.
    """
    assert digests.tag_of("cpu", TEXT) == "python:3.13-slim"
    assert digests.tag_of("gpu", TEXT) == "org/gpu:v1"
    text = digests.pinned(TEXT, {"python:3.13-slim": DIGEST, "org/gpu:v1": DIGEST})
    assert digests.tag_of("cpu", text) is digests.tag_of("gpu", text) is None
    assert f"ARG BASE_IMAGE=python:3.13-slim@{DIGEST}\n" in text
    assert text.endswith("ARG OTHER=x:1\nFROM ${BASE_IMAGE}\n")
    other = DIGEST.replace("0", "f")
    assert f"org/gpu:v1@{other}\n" in digests.pinned(
        text, dict.fromkeys(["python:3.13-slim", "org/gpu:v1"], other)
    )


def test_both_bases_of_the_dockerfile_are_found() -> None:
    """The pattern finds both base images of model/Dockerfile."""
    text = digests.DOCKERFILE.read_text()
    arguments = [line for line in text.splitlines() if line.startswith("ARG")]
    bases = [line for line in arguments if "BASE_IMAGE" in line]
    assert len(bases) == 2
    repinned = digests.pinned(text, _Any())
    assert digests.tag_of("cpu", repinned) is digests.tag_of("gpu", repinned) is None
    assert digests.base_of("cpu", text) == bases[0].partition("=")[2]
    assert digests.base_of("gpu", text) == bases[1].partition("=")[2]
    assert digests.base_of("cpu", "FROM scratch\n") == ""


def test_the_cpu_base_does_not_come_from_docker_hub() -> None:
    """Docker Hub limits pulls by address, and CodeBuild shares addresses. AWS's mirror does not.

    The base is pinned.
    """
    text = digests.DOCKERFILE.read_text()
    assert digests.tag_of("cpu", text) is None
    assert digests.base_of("cpu", text).startswith("public.ecr.aws/docker/library/python:")


class _Any(dict[str, str]):
    """A mapping that has a digest for every image."""

    def __missing__(self, key: str) -> str:
        return DIGEST


@pytest.mark.parametrize("printed", ["echo 'no route' >&2; exit 1", "echo latest"])
def test_a_registry_that_does_not_answer_changes_nothing(
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If the registry does not answer, the Dockerfile is not changed, and a message says so.

    If it answers, the Dockerfile gets the digests.
    """
    path, docker = tmp_path / "Dockerfile", tmp_path / "docker"
    path.write_text(TEXT)
    monkeypatch.setattr(digests, "DOCKERFILE", path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    docker.write_text(f"#!/bin/sh\n{printed}\n")
    docker.chmod(0o755)
    assert digests.main() == 1
    assert path.read_text() == TEXT
    assert "Nothing was changed" in capsys.readouterr().err
    docker.write_text(f"#!/bin/sh\necho {DIGEST}\n")
    assert digests.main() == 0
    assert "@" in digests.base_of("cpu", path.read_text())
    assert "@" in digests.base_of("gpu", path.read_text())


def test_the_synthesis_names_what_is_not_pinned(project: Path, tmp_path: Path) -> None:
    """A deployment that builds the image warns if only a tag names the base that it builds on."""
    (tmp_path / "source").mkdir()
    for path in project.rglob("*"):
        if path.is_file():
            (tmp_path / "source" / path.relative_to(project)).parent.mkdir(
                parents=True, exist_ok=True
            )
            (tmp_path / "source" / path.relative_to(project)).write_bytes(path.read_bytes())
    (tmp_path / "source/model/Dockerfile").write_text(TEXT)
    app = new_app(tmp_path / "out")
    _, service = compose(app, settings=DEV, root=tmp_path / "source")
    base = "org/gpu:v1" if DEV.engine == "vllm" else "python:3.13-slim"
    warning = Match.string_like_regexp(f"takes {base} by its tag")
    Annotations.from_stack(service).has_warning("*", warning)
