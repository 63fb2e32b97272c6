"""The container reads the environment that the stacks set."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from infra.settings.container_environment import EXTRA, SET_BY, environment
from infra.settings.context import settings_from_context
from infra.settings.deployment import FIELDS, SettingsError
from model.settings import Settings, variable_of


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ({}, {"engine": "llama_cpp", "model_name": "sluice-demo"}),
        (
            {
                "engine": "vllm",
                "instance_type": "ml.g6.12xlarge",
                "weights": "hf:a/b@v1",
                "context_tokens": "8192",
            },
            {
                "model_id": "a/b",
                "model_revision": "v1",
                "tensor_parallel": 4,
                "context_tokens": 8192,
            },
        ),
        (
            {
                "engine": "vllm",
                "instance_type": "ml.g6.xlarge",
                "weights": "s3://models/one/",
                "quantization": "fp8",
            },
            {"model_id": None, "tensor_parallel": 1, "quantization": "fp8"},
        ),
    ],
)
def test_environment(context: dict[str, str], expected: dict[str, Any]) -> None:
    """The container's settings accept every variable that the stacks set for its engine."""
    told = environment(settings_from_context({"stage": "dev", **context}))

    settings = Settings.from_environment(told)

    assert expected.items() <= {name: getattr(settings, name) for name in expected}.items()


def test_what_may_be_told_beside() -> None:
    """Each variable of the container is set by a setting, or may be set through `environment`.

    The four exceptions have no use in a deployment.
    """
    vllm = {
        "engine": "vllm",
        "instance_type": "ml.g6.xlarge",
        "weights": "hf:a/b@v1",
        "quantization": "fp8",
        "max_images": "2",
    }
    said = environment(
        settings_from_context({"stage": "dev", "weights_sha256": "a" * 64})
    ) | environment(settings_from_context({"stage": "dev", **vllm}))
    all_of_them = {variable_of(field) for field in fields(Settings)}
    engines = {variable_of(field): field.metadata["engine"] for field in fields(Settings)}
    assert all_of_them - said.keys() - set(EXTRA) == {
        "SLUICE_MODEL_DIR",
        "SLUICE_HOST",
        "SLUICE_CALLER_TOKEN",
        "SAGEMAKER_BIND_TO_PORT",
    }
    assert set(EXTRA) <= all_of_them - said.keys()
    assert EXTRA.items() <= engines.items()
    assert SET_BY.keys() == said.keys()
    assert set(SET_BY.values()) <= FIELDS.keys()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("SLUICE_PARALLEL", "set it by the setting parallel"),
        ("SLUICE_MODEL_ID", "set it by the setting weights"),  # also with a file as weights
        ("SLUICE_BOGUS", "has no such setting; it has SLUICE_"),
        ("SLUICE_TOOL_PARSER", "is a setting of engine=vllm, not of llama_cpp"),
    ],
)
def test_what_may_not(name: str, reason: str) -> None:
    """Synthesis fails for a variable in `environment` that is unknown or that a setting sets."""
    with pytest.raises(SettingsError, match=reason):
        environment(settings_from_context({"stage": "dev", "environment": f'{{"{name}": "4"}}'}))
    environment(
        settings_from_context(
            {"stage": "dev", "environment": '{"SLUICE_QUEUE": "4", "OTHER": "x"}'}
        )
    )
