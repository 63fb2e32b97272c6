"""Single variables, each read by its kind."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest

from lambda_fn.settings import SettingsError, variables

REGION = {"AWS_REGION": "eu-west-1"}


@pytest.mark.parametrize(
    ("region", "url"),
    [
        ("eu-west-1", "https://runtime.sagemaker.eu-west-1.amazonaws.com"),
        ("cn-north-1", "https://runtime.sagemaker.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_the_address_of_a_service(region: str, url: str) -> None:
    """A service has its address in the region, and China's regions have another domain."""
    found = variables.service_url({"AWS_REGION": region}, "SAGEMAKER_RUNTIME", "runtime.sagemaker")
    assert found == url


def test_aws_own_variables_name_other_addresses() -> None:
    """A service's own variable for its address has precedence over the general one."""
    own = {
        **REGION,
        "AWS_ENDPOINT_URL": "http://a/",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://b",
    }
    assert variables.service_url(own, "SECRETS_MANAGER", "secretsmanager") == "http://b"
    assert variables.service_url(own, "DYNAMODB", "dynamodb") == "http://a"


READERS: dict[str, tuple[Callable[..., Any], dict[str, Any], list[str]]] = {
    "seconds": (partial(variables.seconds, default=12.0, maximum=15), {"1": 1.0, "15": 15.0, "": 12.0},
                ["0.9", "15.1", "nan", "inf", "-1", "x"]),
    "count": (partial(variables.count, default=7), {"1": 1, "20": 20, "": 7},
              ["0", "-1", "1.5", "²", "x", " "]),
    "one_of": (partial(variables.one_of, choices=Literal["a", "b"], default=None),
               {"a": "a", "b": "b", "": None}, ["c", "A", "a "]),
    "flag": (variables.flag, {"true": True, "Yes": True, "1": True, "no": False, "0": False,
             "FALSE": False, "": False}, ["maybe", "2", " true"]),
    "nano_usd": (variables.nano_usd, {"0": 0, "9" * 18: 10**18 - 1, "": None},
                 ["-1", "1.5", "9" * 19, "²", "x"]),
    "json_value": (partial(variables.json_value, kind=dict[str, int]), {'{"a": 1}': {"a": 1}, "": {}},
                   ["{", "[]", '{"a": "1"}', "[" * 5000]),
}  # fmt: skip
VALID = [(name, text, value) for name, row in READERS.items() for text, value in row[1].items()]
INVALID = [(name, text) for name, row in READERS.items() for text in row[2]]


@pytest.mark.parametrize(("reader", "text", "value"), VALID)
def test_a_value(reader: str, text: str, value: object) -> None:
    """A valid text has its value, and an empty one the default."""
    assert READERS[reader][0]({"SLUICE_X": text}, "SLUICE_X") == value


@pytest.mark.parametrize(
    ("reader", "text"), INVALID, ids=[f"{it[0]}-{it[1][:9]}" for it in INVALID]
)
def test_an_invalid_value(reader: str, text: str) -> None:
    """The error names the variable."""
    with pytest.raises(SettingsError, match="SLUICE_X"):
        READERS[reader][0]({"SLUICE_X": text}, "SLUICE_X")


@pytest.mark.parametrize(
    "reader", [variables.required, partial(variables.json_value, kind=list[int], default=None)]
)
def test_what_must_be_there(reader: Callable[..., object]) -> None:
    """A variable without a default that is missing or empty is named."""
    for environment in ({}, {"SLUICE_X": ""}):
        with pytest.raises(SettingsError, match="SLUICE_X is not set"):
            reader(environment, "SLUICE_X")
