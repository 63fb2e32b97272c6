"""The choice of a container engine, with stand-ins for the engines' commands."""

from pathlib import Path

import pytest

from cli import main
from local.sagemaker.engine import EngineError, find


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the whole PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("SLUICE_CONTAINER_ENGINE", "CDK_DOCKER"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def _install(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_the_engine_that_answers_is_used(bin_folder: Path) -> None:
    """If docker has no daemon, a podman that answers is used."""
    _install(bin_folder, "docker", "echo 'no daemon' >&2; exit 1")
    _install(bin_folder, "podman", "exit 0")
    assert find() == "podman"


def test_the_named_engine_is_used_or_none(bin_folder: Path) -> None:
    """If an engine is named, no other engine is tried."""
    _install(bin_folder, "docker", "exit 0")
    _install(bin_folder, "other", "exit 0")
    assert find({"CDK_DOCKER": "other"}) == "other"
    with pytest.raises(EngineError, match="podman: not installed"):
        find({"SLUICE_CONTAINER_ENGINE": "podman", "CDK_DOCKER": "other"})


def test_up_without_an_engine_fails(bin_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an engine, `sluice up --container` says why, and starts nothing."""
    _install(bin_folder, "docker", "echo 'no daemon' >&2; exit 1")
    assert main.main(["up", "--container"]) == 1
    printed = capsys.readouterr()
    assert "docker: no daemon; podman: not installed" in printed.err
    assert printed.out == ""
