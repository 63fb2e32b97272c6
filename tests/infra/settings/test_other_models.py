"""The setting `other_models`, checked by the schema that the function reads."""

import json
from typing import Any

import pytest

from infra.settings.context import settings_from_context
from infra.settings.deployment import DEV, SettingsError
from lambda_fn.settings import Settings, read_model
from lambda_fn.settings import SettingsError as ModelError

MODEL = {"endpoint": "their-endpoint", "context_tokens": 32768}


def refused(text: object, **context: object) -> str:
    """Return the message with which the setting is refused."""
    with pytest.raises(SettingsError) as caught:
        settings_from_context({"other_models": text, **context})
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "member",
    [
        {"context_tokens": "32768"},
        {"context_tokens": True},
        {"context_tokens": 32768.0},
        {"context_tokens": 0},
        {"context_tokens": 10**30},
        {"default_max_tokens": "all"},
        {"prompt_price": 0.25},
        {"completion_price": -1},
        {"endpoint": "arn:aws:sagemaker:eu-west-1:123456789012:endpoint/theirs"},
        {"component": "a/b"},
        {"dialect": "ollama"},
        {"region": "eu-west-1"},
    ],
)
def test_each_member(member: dict[str, Any]) -> None:
    """A member is refused with the words of the function's own schema, and the model's name."""
    text = json.dumps({**MODEL, **member})
    with pytest.raises(ModelError) as caught:
        read_model(text)
    assert refused(f'{{"big": {text}}}') == f"other_models=big: {caught.value}"
    assert refused({"big": json.loads(text)}) == f"other_models=big: {caught.value}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"big": {"endpoint": "e"}}', "other_models=big: needs endpoint, context_tokens"),
        ('{"big": 5}', "must be a JSON object"),
        ('{"big": "{]}"}', "other_models=big: must be a JSON object"),
        (f'{{"sluice-demo": {json.dumps(MODEL)}}}', "own model has this name (model_name=sluice"),
        (f'{{"a b": {json.dumps(MODEL)}}}', "a model's name has letters, digits"),
        (f'{{"": {json.dumps(MODEL)}}}', "a model's name has letters, digits"),
        (f'{{"{"a" * 65}": {json.dumps(MODEL)}}}', "64 at most"),
        (f'{{"a": {json.dumps(MODEL)}, "a": {json.dumps(MODEL)}}}', "other_models: a is in it twice"),
        (
            '{"a": {"endpoint": "e", "context_tokens": 9, "context_tokens": 10}}',
            "context_tokens is in it twice",
        ),
        (
            {"a": '{"endpoint": "e", "context_tokens": 9, "context_tokens": 10}'},
            "other_models=a: context_tokens is in it twice",
        ),
        (
            {"a": {**MODEL, "endpoint": "one"}, "b": {**MODEL, "endpoint": "One"}},
            "other_models=b: endpoint=One, and a has endpoint=one",
        ),
        (
            {"a": MODEL, "b": {**MODEL, "dialect": "tgi"}},
            "other_models=b: dialect=tgi, and a has dialect=sluice, at the same endpoint",
        ),
        (
            {"a": {**MODEL, "endpoint": "sluice-dev", "dialect": "tgi"}},
            "other_models=a: dialect=tgi, and sluice-demo has dialect=sluice",
        ),
        (
            {"a": {**MODEL, "endpoint": "Sluice-Dev"}},
            "other_models=a: endpoint=Sluice-Dev, and sluice-demo has endpoint=sluice-dev",
        ),
    ],
)  # fmt: skip
def test_models_together(text: object, said: str) -> None:
    """Names and clashes that the function or AWS would not take are refused."""
    assert said in refused(text)


def test_what_is_accepted() -> None:
    """The function reads what is accepted. A member that is null is as if it were absent."""
    models = {
        "org/Big-1.5:x": {**MODEL, "dialect": "openai", "component": None, "prompt_price": 0},
        "adapter": {**MODEL, "endpoint": "sluice-dev"},
        "lmi": {**MODEL, "endpoint": "l", "dialect": "lmi"},
        "raw": {**MODEL, "endpoint": "l", "dialect": "lmi-inputs"},
    }
    settings = settings_from_context({"other_models": json.dumps(models)})
    assert "component" not in settings.others["org/Big-1.5:x"]
    read = Settings.from_environment(
        {
            "AWS_REGION": "eu-west-1",
            "SLUICE_USAGE_TABLE": "t",
            "SLUICE_ORIGIN_SECRET": "s",
            "SLUICE_MODELS": json.dumps(settings.others),
        }
    )
    assert (list(read.models), read.unreadable) == (list(models), {})


def test_the_widest_settings_of_the_own_model() -> None:
    """The function reads what the bounds of the deployment's own settings allow."""
    settings = DEV.replace(
        context_tokens=1_048_576, default_max_tokens=1_048_576, prompt_price=1_000_000.0
    )
    model = {
        "endpoint": "e",
        "context_tokens": settings.context_tokens,
        "default_max_tokens": settings.default_max_tokens,
        "prompt_price": round((settings.prompt_price or 0) * 1000),
    }
    assert read_model(json.dumps(model)).prompt_price == 10**9
