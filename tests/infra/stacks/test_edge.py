"""Stacks in us-east-1."""

from pathlib import Path

import pytest
from aws_cdk import App

from infra.compose import compose
from infra.settings.deployment import (
    DEV,
    SettingsError,
)


def test_a_certificate_needs_to_know_where(project: Path, tmp_path: Path) -> None:
    """Without credentials, account and region are unknown. The error says so."""
    settings = DEV.replace(domain="api.example.org", hosted_zone="Z0123456789ABC:example.org")
    with pytest.raises(SettingsError, match="set CDK_DEFAULT_ACCOUNT and CDK_DEFAULT_REGION"):
        compose(
            App(outdir=str(tmp_path), analytics_reporting=False), settings=settings, root=project
        )
