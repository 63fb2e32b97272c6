"""The fields of settings."""

import dataclasses

import pytest

from infra.settings.context import settings_from_context
from infra.settings.deployment import Settings, SettingsError


def test_every_setting_can_be_described() -> None:
    """Each field has choices, bounds or a form, so an error always says what is accepted."""
    for field in dataclasses.fields(Settings):
        with pytest.raises(SettingsError, match=rf"^{field.name}=.*: must be \w+"):
            settings_from_context({field.name: "s3://!"})
