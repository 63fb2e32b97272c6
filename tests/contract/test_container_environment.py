"""What the stacks tell the container by its environment, read by the container."""

from __future__ import annotations

from typing import Any

import pytest

from infra.container_environment import environment
from infra.context import settings_from_context
from model.settings import Settings


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, {"engine": "llama_cpp", "model_name": "sluice-demo"}),
        (
            {"engine": "vllm", "instance_type": "ml.g6.12xlarge", "weights": "hf:a/b@v1", "context_tokens": "8192"},
            {"model_id": "a/b", "model_revision": "v1", "tensor_parallel": 4, "context_tokens": 8192},
        ),
        (
            {"engine": "vllm", "instance_type": "ml.g6.xlarge", "weights": "s3://models/one/", "quantization": "fp8"},
            {"model_id": None, "tensor_parallel": 1, "quantization": "fp8"},
        ),
    ],
)
def test_environment(context: dict[str, str], expected: dict[str, Any]) -> None:
    """Every variable is one of the container's, of the engine that is deployed, with a value that it takes."""
    told = environment(settings_from_context({"stage": "dev", **context}))

    settings = Settings.from_environment(told)

    assert expected.items() <= {name: getattr(settings, name) for name in expected}.items()
