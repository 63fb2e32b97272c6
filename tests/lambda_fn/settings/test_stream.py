"""The settings of the stream function."""

import json
import uuid

import pytest

from lambda_fn.settings import Settings, SettingsError
from lambda_fn.settings.stream import made_at

MODEL = {"endpoint": "their-endpoint", "context_tokens": 32768}
ENVIRONMENT = {
    "AWS_REGION": "eu-west-1",
    "SLUICE_USAGE_TABLE": "t",
    "SLUICE_ORIGIN_SECRET": "s",
}


def test_how_strictly_requests_are_read() -> None:
    """Requests are read leniently, and histories of tools strictly, unless variables say so."""
    models = {"SLUICE_MODELS": json.dumps({"m": MODEL})}
    default = Settings.from_environment({**ENVIRONMENT, **models})
    assert (default.strict, default.loose_tool_history) == (False, False)
    variables = {"SLUICE_STRICT": "true", "SLUICE_LOOSE_TOOL_HISTORY": "true"}
    changed = Settings.from_environment({**ENVIRONMENT, **models, **variables})
    assert (changed.strict, changed.loose_tool_history) == (True, True)


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
