"""The sizes of environments."""

import json
from pathlib import Path

import pytest
from aws_cdk import App, Fn, SecretValue

from infra.compose import compose
from infra.environment_size import (
    LAMBDA,
    SAGEMAKER,
    SAGEMAKER_VALUE,
    UNRESOLVED,
    check_lambda,
    check_sagemaker,
    size,
)
from infra.settings.deployment import DEV, SettingsError


def test_what_is_known_only_later_counts_too() -> None:
    """Each unresolved part counts as a fixed size, and the rest as its bytes in UTF-8."""
    token = Fn.ref("Table")
    assert size("ä") == 2
    assert size(f"a{token}ö{token}") == 3 + 2 * UNRESOLVED
    assert size(SecretValue.secrets_manager("name").unsafe_unwrap()) == UNRESOLVED


def test_lambdas_limit_is_for_all_variables_together() -> None:
    """Names and values may have 4,096 bytes, and not one more."""
    check_lambda({"A": "a" * (LAMBDA - 1)}, "f")
    with pytest.raises(SettingsError, match=r"f: Lambda takes 4096 bytes .* these have 4097, .* A"):
        check_lambda({"A": "a" * (LAMBDA - 2), "B": "b"}, "f")
    with pytest.raises(SettingsError):
        check_lambda({"A": "a" * (LAMBDA - UNRESOLVED), "B": Fn.ref("Table")}, "f")


def test_sagemakers_limits_are_for_each_and_for_all() -> None:
    """A name or a value may have 1,024 bytes, and all together 32 KiB."""
    check_sagemaker({"A": "a" * SAGEMAKER_VALUE})
    with pytest.raises(SettingsError, match=r"environment=A: .* this has 1025"):
        check_sagemaker({"A": "ä" + "a" * (SAGEMAKER_VALUE - 1)})
    with pytest.raises(SettingsError, match="environment=A: "):
        check_sagemaker({"A": "a" * SAGEMAKER_VALUE + Fn.ref("Table")})
    many = {f"N{number:02}": "a" * 1000 for number in range(SAGEMAKER // 1003 + 1)}
    with pytest.raises(SettingsError, match="SageMaker takes 32768 bytes"):
        check_sagemaker(many)


def test_a_synthesis_with_too_many_models_ends_with_a_message(
    project: Path, tmp_path: Path
) -> None:
    """The stream function's variables contain the other models, and they must fit."""
    other = json.dumps({"endpoint": "e" * 60, "context_tokens": 100})
    others = {f"model-{number}": other for number in range(60)}
    settings = DEV.replace(other_models=others)
    with pytest.raises(SettingsError, match="SLUICE_MODELS: set fewer other_models"):
        compose(App(outdir=str(tmp_path)), settings=settings, root=project)


def test_a_synthesis_with_a_long_variable_ends_with_a_message(
    project: Path, tmp_path: Path
) -> None:
    """The container's variables may have 1,024 bytes, not characters."""
    settings = DEV.replace(environment={"NAME": "ä" * 600})
    with pytest.raises(SettingsError, match=r"environment=NAME: .* this has 1200"):
        compose(App(outdir=str(tmp_path)), settings=settings, root=project)
