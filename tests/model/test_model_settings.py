"""The environment to settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.engines import ENGINES, create
from model.errors import StartError
from model.settings import Settings


def test_defaults() -> None:
    """An empty environment gives SageMaker's port and folder."""
    settings = Settings.from_environment({"PATH": "/bin"})

    assert settings == Settings()
    assert (settings.port, settings.model_dir, settings.engine) == (8080, Path("/opt/ml/model"), "llama_cpp")


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
            "SLUICE_ENGINE_THREADS": "3",
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
        engine_threads=3,
        port=9090,
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SLUICE_ENGINE", "gpt"),
        ("SLUICE_MODEL_NAME", ""),
        ("SLUICE_MODEL_DIR", ""),
        ("SLUICE_CONTEXT_TOKENS", "0"),
        ("SLUICE_PARALLEL", "-1"),
        ("SLUICE_PARALLEL", "257"),
        ("SLUICE_QUEUE", "1e3"),
        ("SLUICE_TOKENS_PER_SECOND", "fast"),
        ("SLUICE_TOKENS_PER_SECOND", "nan"),
        ("SLUICE_ENGINE_THREADS", "²"),
        ("SAGEMAKER_BIND_TO_PORT", "65536"),
        ("SLUICE_PORT", "8080"),
        ("SLUICE_TOKENS_PER_SECONDS", "1"),
    ],
)
def test_refused(name: str, value: str) -> None:
    """An unknown name or a bad value is refused with one line that names it."""
    with pytest.raises(StartError, match=name) as caught:
        Settings.from_environment({name: value})

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ENGINES)
async def test_registry(name: str) -> None:
    """Every name of the registry can be imported and made."""
    engine = create(Settings(engine=name))

    assert not engine.healthy
    await engine.close()
