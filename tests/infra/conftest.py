"""The fixtures of the synthesised stacks."""

from pathlib import Path

import pytest

from tests.support.synthesis import STAGES, Synthesis, synthesise


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with only what a synthesis reads, so that templates depend on no other part of this one."""
    root = tmp_path_factory.mktemp("project")
    for path, text in {
        "lambda_fn/__init__.py": "",
        "lambda_fn/bootstrap": "#!/bin/sh\n",
        "lambda_fn/control/handler.py": "",
        "locks/control.txt": "",
        "locks/function.txt": "",
        "locks/model.txt": "",
        "model/Dockerfile": "FROM scratch\n",
        "schema_guard/__init__.py": "",
        "demo_model/weights/sluice-demo.gguf": "GGUF",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


@pytest.fixture(scope="session")
def syntheses(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Synthesis]:
    """Every stage, synthesised."""
    return {stage: synthesise(stage, project, tmp_path_factory.mktemp(stage)) for stage in STAGES}


@pytest.fixture(scope="session", params=STAGES)
def synthesis(request: pytest.FixtureRequest, syntheses: dict[str, Synthesis]) -> Synthesis:
    """Each stage in turn."""
    return syntheses[request.param]
