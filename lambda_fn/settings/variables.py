"""Reads one variable of a function's environment. Each function raises SettingsError."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_args

import msgspec

_MONEY_DIGITS = 18
_T = TypeVar("_T")


class SettingsError(Exception):
    """A setting is missing or invalid.

    The message names the setting, and never contains its value.
    """


def required(environment: Mapping[str, str], name: str) -> str:
    """Return a text that must be there."""
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def service_url(environment: Mapping[str, str], service: str, host: str) -> str:
    """Return the URL of an AWS service in the function's region.

    Args:
        environment: `AWS_ENDPOINT_URL_{service}` and `AWS_ENDPOINT_URL`, AWS's own variables, have
            precedence over the region's address.
        service: The name of the service in AWS's variables, such as `SECRETS_MANAGER`.
        host: The beginning of its host's name, such as `secretsmanager`.

    """
    region = required(environment, "AWS_REGION")
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    override = environment.get(f"AWS_ENDPOINT_URL_{service}") or environment.get("AWS_ENDPOINT_URL")
    return (override or f"https://{host}.{region}.{domain}").rstrip("/")


def seconds(
    environment: Mapping[str, str], name: str, default: float, *, maximum: int = 86_400
) -> float:
    """Return a number of seconds from 1 to `maximum`."""
    try:
        value = float(environment.get(name) or default)
    except ValueError:
        value = 0.0
    if not 1 <= value <= maximum:  # NaN fails as well
        raise SettingsError(f"{name} must be a number of seconds, 1 to {maximum}")
    return value


def count(environment: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number from 1."""
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise SettingsError(f"{name} must be a whole number from 1")
    return int(text)


def one_of(environment: Mapping[str, str], name: str, choices: Any, default: Any) -> Any:
    """Return one of the texts of a `Literal`."""
    text = environment.get(name, "")
    if text not in {"", *get_args(choices)}:
        raise SettingsError(f"{name} must be one of {', '.join(get_args(choices))}")
    return text or default


def flag(environment: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    """Return whether a variable is true."""
    text = environment.get(name, "")
    if not text:
        return default
    if text.lower() in {"0", "false", "no"}:
        return False
    if text.lower() in {"1", "true", "yes"}:
        return True
    raise SettingsError(f"{name} must be true or false")


def nano_usd(environment: Mapping[str, str], name: str) -> int | None:
    """Return an amount in nano-USD; None if it is not set."""
    text = environment.get(name, "")
    if text and not (text.isascii() and text.isdecimal() and len(text) <= _MONEY_DIGITS):
        raise SettingsError(f"{name} must be a whole number of nano-USD")
    return int(text) if text else None


def json_value(
    environment: Mapping[str, str], name: str, kind: type[_T], *, default: str | None = "{}"
) -> _T:
    """Return a JSON text as a value of `kind`. Without a default, it must be there."""
    text = required(environment, name) if default is None else environment.get(name) or default
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{name}: {error}") from None
