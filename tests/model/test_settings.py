"""The container's settings from its environment."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from model.engines import create
from model.errors import StartError
from model.settings import ENGINES, Settings, table


def test_defaults() -> None:
    """An empty environment means SageMaker's port and folder."""
    settings = Settings.from_environment({"PATH": "/bin"})

    assert settings == Settings()
    assert (settings.port, settings.model_dir, settings.engine) == (
        8080,
        Path("/opt/ml/model"),
        "llama_cpp",
    )


def test_all() -> None:
    """Every setting is read from its variable."""
    settings = Settings.from_environment(
        {
            "SLUICE_ENGINE": "scripted",
            "SLUICE_MODEL_NAME": "m",
            "SLUICE_MODEL_DIR": "/weights",
            "SLUICE_CONTEXT_TOKENS": "1024",
            "SLUICE_PARALLEL": "2",
            "SLUICE_QUEUE": "0",
            "SLUICE_TOKENS_PER_SECOND": "12.5",
            "SLUICE_MAX_SECONDS": "300",
            "SLUICE_SLOW_READER_SECONDS": "9",
            "SLUICE_HOST": "::1",
            "SAGEMAKER_BIND_TO_PORT": "9090",
        }
    )

    assert settings == Settings(
        engine="scripted",
        model_name="m",
        model_dir=Path("/weights"),
        context_tokens=1024,
        parallel=2,
        queue=0,
        tokens_per_second=12.5,
        max_seconds=300,
        slow_reader_seconds=9,
        host="::1",
        port=9090,
    )


def test_defaults_have_the_forms_of_their_readers() -> None:
    """Each default in the table is a value that its variable accepts."""
    for item in fields(Settings):
        if item.default is not None:
            text = str(item.default)
            assert (
                item.metadata["reader"](text.lower() if isinstance(item.default, bool) else text)
                == item.default
            )


def test_documented() -> None:
    """The documentation has the table of all settings as the program prints it."""
    assert (
        table() in (Path(__file__).parents[2] / "docs" / "reference" / "container.md").read_text()
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLUICE_ENGINE", "gpt"),
        ("SLUICE_WEIGHTS_SHA256", "0" * 63),
        ("SLUICE_MODEL_NAME", ""),
        ("SLUICE_MODEL_DIR", ""),
        ("SLUICE_CONTEXT_TOKENS", "0"),
        ("SLUICE_PARALLEL", "-1"),
        ("SLUICE_PARALLEL", "257"),
        ("SLUICE_QUEUE", "1e3"),
        ("SLUICE_TOKENS_PER_SECOND", "fast"),
        ("SLUICE_TOKENS_PER_SECOND", "nan"),
        ("SLUICE_ENGINE_THREADS", "²"),
        ("SLUICE_MAX_SECONDS", "0"),
        ("SLUICE_GPU_MEMORY", "1.5"),
        ("SLUICE_PREFIX_CACHING", "yes"),
        ("SLUICE_MODEL_ID", "../weights"),
        ("SLUICE_LORA_ADAPTERS", "sql"),
        ("SLUICE_LORA_ADAPTERS", "a=/x,a=/y"),
        ("SLUICE_LORA_RANK", "9"),
        ("SLUICE_VLLM_ARGS", "[1]"),
        ("SLUICE_VLLM_ARGS", "{"),
        ("SLUICE_MODEL_NAME", "é" * 513),
        ("SLUICE_TOOL_PARSER", "hermes"),
        ("SAGEMAKER_BIND_TO_PORT", "65536"),
        ("SLUICE_PORT", "8080"),
        ("SLUICE_TOKENS_PER_SECONDS", "1"),
    ],
)
def test_refused(name: str, value: str) -> None:
    """The error for an unknown name or an invalid value is one line that names it."""
    with pytest.raises(StartError, match=name) as caught:
        Settings.from_environment({name: value})

    assert "\n" not in str(caught.value)


def test_engine_of_a_setting() -> None:
    """A setting of another engine would have no effect. The error has both names."""
    with pytest.raises(
        StartError, match="SLUICE_TOOL_PARSER is a setting of the engine vllm, not of llama_cpp"
    ):
        Settings.from_environment({"SLUICE_TOOL_PARSER": "hermes"})


@pytest.mark.parametrize("count", [101, 40])
def test_environment_too_large(count: int) -> None:
    """An environment larger than SageMaker's limit is an error.

    SageMaker would reject such a model, or has cut the environment.
    """
    environment = {f"SLUICE_{number}": "x" * 1000 for number in range(count)}

    with pytest.raises(StartError, match=f"{count} settings"):
        Settings.from_environment(environment)


@pytest.mark.parametrize("name", ENGINES)
async def test_registry(name: str) -> None:
    """Every name of the registry can be imported and made."""
    engine = create(Settings(engine=name))

    assert not engine.healthy
    await engine.close()
