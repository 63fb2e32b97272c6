"""The models of a deployment, each read for itself."""

import json
from typing import Any

import pytest

from lambda_fn.settings import (
    FORMS,
    MAX_CONTEXT_TOKENS,
    MAX_PRICE,
    Model,
    Settings,
    SettingsError,
    read_model,
)

MODEL = {"endpoint": "their-endpoint", "context_tokens": 32768}
ENVIRONMENT = {
    "AWS_REGION": "eu-west-1",
    "SLUICE_USAGE_TABLE": "t",
    "SLUICE_ORIGIN_SECRET": "s",
}

NO_TOKENS: tuple[Any, ...] = (
    "32768", True, 4096.0, 0, -1, MAX_CONTEXT_TOKENS + 1, 10**12, 10**30, None, [4096], {},
)  # fmt: skip
WRONG: list[tuple[dict[str, Any], str]] = [
    *(({"context_tokens": value}, "context_tokens") for value in NO_TOKENS),
    *(({"default_max_tokens": value}, "default_max_tokens") for value in ("1", 0, 1.5, 10**30)),
    *(({name: value}, name) for name in ("prompt_price", "completion_price")
      for value in ("0.5", 0.5, -1, True, MAX_PRICE + 1, 10**30)),
    *(({name: value}, name) for name in ("endpoint", "component") for value in (
        "", "a b", "-a", "a-", "a_b", "a" * 64, "e\n", 5,
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/theirs",
        "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/theirs/invocations",
    )),
    ({"endpoint": None}, "endpoint"),
    *(({"dialect": value}, "dialect") for value in ("OpenAI", "ollama", "", None, 1)),
    ({"region": "eu-west-1"}, "region: there is no such member"),
    ({"context_token": 1}, "context_token: there is no such member; there are endpoint"),
]  # fmt: skip


@pytest.mark.parametrize(("member", "named"), WRONG)
def test_each_member_is_checked(member: dict[str, Any], named: str) -> None:
    """An invalid member is named, with what it accepts and without its value."""
    with pytest.raises(SettingsError) as caught:
        read_model(json.dumps({**MODEL, **member}))
    assert str(caught.value).startswith(named)
    form = FORMS.get(named)
    assert form is None or form in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "5", "[]", "null", '"{}"', "[" * 5000, '{"endpoint": NaN}']
)
def test_what_is_no_object(text: str) -> None:
    """A text that is no JSON object is an error of one sentence."""
    with pytest.raises(SettingsError, match="must be a JSON object"):
        read_model(text)


@pytest.mark.parametrize("name", ["endpoint", "context_tokens"])
def test_what_each_model_needs(name: str) -> None:
    """A missing member is named."""
    with pytest.raises(SettingsError, match=f"{name} is missing"):
        read_model(json.dumps({key: value for key, value in MODEL.items() if key != name}))


def test_bounds() -> None:
    """The largest and smallest values are accepted, and null is a member that is absent."""
    largest = {"context_tokens": MAX_CONTEXT_TOKENS, "prompt_price": MAX_PRICE}
    assert read_model(json.dumps({**MODEL, **largest})).prompt_price == MAX_PRICE
    least = {"context_tokens": 1, "prompt_price": 0, "component": None, "completion_price": None}
    assert read_model(json.dumps({**MODEL, **least})) == Model(
        endpoint="their-endpoint", context_tokens=1, prompt_price=0
    )


@pytest.mark.parametrize(("member", "named"), WRONG)
def test_a_model_that_cannot_be_read(member: dict[str, Any], named: str) -> None:
    """The function serves the models that it can read, and keeps the reason for the others."""
    models = {"m": MODEL, "big": {**MODEL, **member}}
    settings = Settings.from_environment({**ENVIRONMENT, "SLUICE_MODELS": json.dumps(models)})
    assert list(settings.models) == ["m"]
    assert list(settings.unreadable) == ["big"]
    assert settings.unreadable["big"].startswith(named)


@pytest.mark.parametrize("text", ["{}", "[]", "5", "{", '{"m": 5}', '{"m": {}}'])
def test_no_model_at_all(text: str) -> None:
    """Without any model that can be read, the function does not start."""
    with pytest.raises(SettingsError, match="SLUICE_MODELS"):
        Settings.from_environment({**ENVIRONMENT, "SLUICE_MODELS": text})
