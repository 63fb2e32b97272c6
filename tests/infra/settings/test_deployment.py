"""Settings and their overrides from CDK context."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aws_cdk import Stack

from infra.constructs.model_endpoint import ModelEndpoint
from infra.settings.container_environment import environment
from infra.settings.context import settings_from_context
from infra.settings.deployment import (
    DEV,
    FIELDS,
    PROD,
    SettingsError,
    accepted,
    host_python_version,
    local,
    of_stage,
)
from lambda_fn.metering.accounts import MAX_STREAMS

VLLM = {"container": "vllm", "instance_type": "ml.g6.xlarge", "weights": "hf:o/m"}
KEY = "arn:aws:kms:us-east-1:123456789012:key/1"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/1"


def test_settings_made_in_code_are_checked_too() -> None:
    """The values in a stage's own definition are checked, too."""
    with pytest.raises(SettingsError, match="memory_mb=64"):
        PROD.replace(memory_mb=64)


def test_settings_cannot_be_changed() -> None:
    """Settings cannot be changed."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEV.parallel = 3  # type: ignore[misc]


def test_the_local_stage_runs_on_this_machine_at_a_pace_that_can_be_watched() -> None:
    """The local stage builds no image, uses this machine's Python, and slows answers down."""
    settings = local()
    assert settings.image_uri is not None
    assert (settings.python_version, settings.wheels) == (host_python_version(), "host")
    assert settings.tokens_per_second == 40
    assert settings.reserved_concurrency == 256


def test_production_keeps_its_data_and_stands_on_two_instances() -> None:
    """Production retains its data, bounds its concurrency and has two instances.

    Dev reserves nothing that a new account lacks.
    """
    assert (PROD.retain, PROD.instance_count) == (True, 2)
    assert PROD.reserved_concurrency is not None
    assert of_stage("dev").reserved_concurrency is None


def test_no_request_is_taken_for_lost_while_its_function_may_run() -> None:
    """Only the local cloud may treat a request as lost before the function's timeout."""
    assert settings_from_context({"stage": "local", "overdue_seconds": "5"}).overdue_seconds == 5
    with pytest.raises(
        SettingsError, match=r"^overdue_seconds=599: must be 600 or more in stage prod"
    ):
        settings_from_context({"stage": "prod", "overdue_seconds": "599"})


def test_a_mistake_on_the_command_line_ends_in_one_line() -> None:
    """For a mistake the app exits with status 1 and one line, without a traceback."""
    root = Path(__file__).resolve().parents[3]
    # the pinned Node, because another one may warn
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "CDK_CONTEXT_JSON": json.dumps({"stage": "nowhere"})}
    completed = subprocess.run(
        [sys.executable, "app.py"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 1
    assert completed.stderr.strip() == "sluice: stage=nowhere: must be local, dev or prod"


def test_every_setting_is_documented_as_it_is() -> None:
    """docs/reference/settings.md has each setting once.

    Its row has the values in dev and prod, and what the setting accepts.
    """
    page = (Path(__file__).parents[3] / "docs" / "reference" / "settings.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| .+ \|$", page, re.MULTILINE)
    assert sorted(rows) == sorted(
        (name, shown(getattr(DEV, name)), shown(getattr(PROD, name)), accepted(name))
        for name in FIELDS
    )


def shown(value: object) -> str:
    """Return a value in the form of `-c`."""
    if value in (None, (), {}):
        return "none"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def test_streams_of_a_new_key() -> None:
    """Without a setting for it, a new key gets a tenth of the reserved concurrency.

    It gets at least 4 streams, and at most the maximum of a key.
    """
    streams = {
        reserved: DEV.replace(reserved_concurrency=reserved).new_key_streams
        for reserved in (None, 1, 50, 200, 10_000)
    }
    assert streams == {None: 20, 1: 4, 50: 5, 200: 20, 10_000: MAX_STREAMS}
    assert PROD.new_key_streams == 20
    assert DEV.replace(default_max_streams=7).new_key_streams == 7
    with pytest.raises(SettingsError, match="default_max_streams"):
        DEV.replace(default_max_streams=MAX_STREAMS + 1)


def test_readers_of_a_key() -> None:
    """Without a setting for it, a key follows answers with half of the recall function, and 50."""
    readers = {
        calls: PROD.replace(recall_concurrency=calls).readers_per_key
        for calls in (1, 2, 9, 100, 500)
    }
    assert readers == {1: 1, 2: 1, 9: 4, 100: 50, 500: 50}
    assert PROD.replace(recall_per_key=7).readers_per_key == 7


def test_models_without_prices() -> None:
    """A model has a price if both prices are set. 0 is a price."""
    other = {"bare": '{"endpoint": "e", "context_tokens": 9}'}
    other["free"] = (
        '{"endpoint": "e", "context_tokens": 9, "prompt_price": 0, "completion_price": 0}'
    )
    settings = DEV.replace(other_models=other)
    assert settings.unpriced_models == [DEV.model_name, "bare"]
    assert settings.replace(prompt_price=1.0).unpriced_models == [DEV.model_name, "bare"]
    assert settings.replace(prompt_price=0.0, completion_price=2.0).unpriced_models == ["bare"]


@pytest.mark.parametrize(
    ("context", "reason"),
    [
        ({"max_images": "2"}, "engine=llama_cpp reads no images"),
        ({"max_images": "2", "container": "lmi", "dialect": "lmi-inputs"}, "has only text"),
        ({"max_images": "65"}, "a whole number from 0 to 64"),
        ({"max_images": "2", "image_hosts": "169.254.169.254"}, "must be host names"),
        ({"max_images": "2", "image_hosts": "localhost"}, "must be host names"),
    ],
)
def test_images_need_a_model_that_reads_them(context: dict[str, str], reason: str) -> None:
    """Settings of images without an effect, and hosts that are not names, are refused."""
    gpu = (
        {"instance_type": "ml.g6.xlarge", "weights": "hf:a/b@v1"} if "container" in context else {}
    )
    with pytest.raises(SettingsError, match=reason):
        settings_from_context({"stage": "dev", **gpu, **context})


def test_images_reach_function_and_container() -> None:
    """The function gets the limits as members of its model, the container as a variable."""
    context = {"stage": "dev", "container": "vllm", "instance_type": "ml.g6.xlarge"}
    context |= {"weights": "hf:a/b@v1", "max_images": "2", "image_hosts": "*.example.com"}
    settings = settings_from_context(context)
    assert environment(settings)["SM_VLLM_LIMIT_MM_PER_PROMPT"] == '{"image": 2}'
    model = ModelEndpoint(
        Stack(), "M", root=Path(__file__).parents[3], settings=settings
    ).invocation
    assert (model["max_images"], model["image_hosts"]) == (2, ["*.example.com"])
