"""What the stacks tell the container by its environment, read by the container."""

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
    """Every variable is one of the container's, of the engine that is deployed, with a value that
    it takes.
    """
    told = environment(settings_from_context({"stage": "dev", **context}))

    settings = Settings.from_environment(told)

    assert expected.items() <= {name: getattr(settings, name) for name in expected}.items()


def test_what_may_be_told_beside() -> None:
    """Each of the container's settings is one of the deployment's, or may be told beside, or is of
    no use there.
    """
    vllm = {
        "engine": "vllm",
        "instance_type": "ml.g6.xlarge",
        "weights": "hf:a/b@v1",
        "quantization": "fp8",
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
        ("SLUICE_MODEL_ID", "set it by the setting weights"),  # though these weights are a file
        ("SLUICE_BOGUS", "has no such setting; it has SLUICE_"),
        ("SLUICE_TOOL_PARSER", "is a setting of engine=vllm, not of llama_cpp"),
    ],
)
def test_what_may_not(name: str, reason: str) -> None:
    """A variable that the container would refuse, or that a setting sets already, ends the
    synthesis.
    """
    with pytest.raises(SettingsError, match=reason):
        environment(settings_from_context({"stage": "dev", "environment": f'{{"{name}": "4"}}'}))
    environment(
        settings_from_context(
            {"stage": "dev", "environment": '{"SLUICE_QUEUE": "4", "OTHER": "x"}'}
        )
    )
