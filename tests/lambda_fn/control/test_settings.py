"""The settings of the control function."""

import pytest

from lambda_fn.control.settings import ControlSettings
from lambda_fn.settings import SettingsError

ENVIRONMENT = {"AWS_REGION": "eu-west-1", "SLUICE_USAGE_TABLE": "t", "SLUICE_MODEL_NAMES": '["m"]'}


def test_defaults() -> None:
    """Only the required variables are needed. Without a secret and a right no caller is let in."""
    settings = ControlSettings.from_environment(ENVIRONMENT)
    assert (settings.admin_secret, settings.right, settings.unpriced, settings.audit_days) == (
        None,
        None,
        (),
        400,
    )
    assert settings.dynamodb_url == "https://dynamodb.eu-west-1.amazonaws.com"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_REGION", ""),
        ("SLUICE_MODEL_NAMES", "m"),
        ("SLUICE_ADMIN_RIGHT", "none"),
        ("SLUICE_AUDIT_DAYS", "-1"),
        ("SLUICE_DEFAULT_MAX_STREAMS", "0"),
    ],
)
def test_an_invalid_variable_is_named(name: str, value: str) -> None:
    """The error for a missing or malformed variable names it."""
    with pytest.raises(SettingsError, match=name):
        ControlSettings.from_environment({**ENVIRONMENT, name: value})
