"""The settings of the stream function: its models, each read for itself."""

import json
import uuid
from typing import Any

import pytest

from lambda_fn.settings import (
    FORMS,
    MAX_CONTEXT_TOKENS,
    MAX_PRICE,
    Model,
    Settings,
    SettingsError,
    Traces,
    made_at,
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


def test_how_strictly_requests_are_read() -> None:
    """Requests are read leniently, and histories of tools strictly, unless variables say so."""
    models = {"SLUICE_MODELS": json.dumps({"m": MODEL})}
    default = Settings.from_environment({**ENVIRONMENT, **models})
    assert (default.strict, default.loose_tool_history) == (False, False)
    variables = {"SLUICE_STRICT": "true", "SLUICE_LOOSE_TOOL_HISTORY": "true"}
    changed = Settings.from_environment({**ENVIRONMENT, **models, **variables})
    assert (changed.strict, changed.loose_tool_history) == (True, True)


@pytest.mark.parametrize("text", ["{}", "[]", "5", "{", '{"m": 5}', '{"m": {}}'])
def test_no_model_at_all(text: str) -> None:
    """Without any model that can be read, the function does not start."""
    with pytest.raises(SettingsError, match="SLUICE_MODELS"):
        Settings.from_environment({**ENVIRONMENT, "SLUICE_MODELS": text})


def test_the_age_of_a_deployment() -> None:
    """A stack's id ends in a UUID that has the time of its making; other ids tell nothing."""
    made = uuid.uuid1()
    seconds = (made.time - 0x01B21DD213814000) // 10_000_000
    arn = "arn:aws:cloudformation:eu-west-1:123456789012:stack/sluice-dev-service/"
    assert made_at(f"{arn}51af3dc0-da77-11e4-872e-1234567db123") == 1_428_116_673
    assert made_at(f"{arn}{made}") == seconds
    for other in ("", f"{arn}{uuid.uuid4()}", arn):
        assert made_at(other) is None


def test_aliases() -> None:
    """An alias means a model that is served, and never hides one."""
    aliases = {"gpt-4o": "m", "m": "other", "x": "nothing"}
    served = {**ENVIRONMENT, "SLUICE_MODELS": json.dumps({"m": MODEL})}
    environment = {**served, "SLUICE_ALIASES": json.dumps(aliases)}
    settings = Settings.from_environment(environment)
    assert settings.name_of("gpt-4o") in settings.models
    assert (settings.name_of("m"), settings.name_of("x")) == ("m", "x")
    with pytest.raises(SettingsError, match="SLUICE_ALIASES"):
        Settings.from_environment({**served, "SLUICE_ALIASES": "["})


TRACED = {**ENVIRONMENT, "SLUICE_MODELS": json.dumps({"m": MODEL}), "SLUICE_DEPLOYMENT": "x-dev"}


def test_traces() -> None:
    """Spans go nowhere, to CloudWatch's endpoint of the region, or to a collector."""
    assert Settings.from_environment(TRACED).traces is None
    cloudwatch = Settings.from_environment({**TRACED, "SLUICE_TRACES": "cloudwatch"}).traces
    assert cloudwatch == Traces(
        "https://xray.eu-west-1.amazonaws.com/v1/traces", "x-dev", signed=True
    )
    found = Settings.from_environment(
        {
            **TRACED,
            "SLUICE_TRACES": "https://collector.example.org/v1/traces",
            "SLUICE_TRACE_RATIO": "0.25",
            "SLUICE_TRACE_AUTHORIZATION": "Basic secret",
        }
    ).traces
    assert found == Traces(
        "https://collector.example.org/v1/traces", "x-dev", 0.25, authorization="Basic secret"
    )
    assert "secret" not in repr(found)


@pytest.mark.parametrize(
    "variables",
    [
        {"SLUICE_TRACES": "collector.example.org"},
        *(
            {"SLUICE_TRACES": "cloudwatch", "SLUICE_TRACE_RATIO": value}
            for value in ("-0.1", "1.1", "nan", "x")
        ),
    ],
)
def test_invalid_traces(variables: dict[str, str]) -> None:
    """The error names the variable."""
    with pytest.raises(SettingsError, match="SLUICE_TRACE"):
        Settings.from_environment({**TRACED, **variables})
