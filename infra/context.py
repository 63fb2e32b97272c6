"""Settings from CDK context: `-c stage=dev -c parallel=8` -> Settings.

Values come as text from the command line, and as JSON values from cdk.json; both are read by the setting's type.
"""

import difflib
from collections.abc import Mapping
from typing import get_args

from infra.settings import FIELDS, TYPES, Settings, SettingsError, of_stage, wanted

DEFAULT_STAGE = "dev"
_NONE = {"", "none", "null"}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def settings_from_context(context: Mapping[str, object]) -> Settings:
    """The settings that a whole CDK context asks for.

    CDK's own keys, which hold a colon, an at sign or a slash (`aws:cdk:...`, `@aws-cdk/...`), are not ours.
    Raises SettingsError naming the choices for an unknown setting or a value that its type does not take.
    """
    ours = {key: value for key, value in context.items() if not any(mark in key for mark in ":@/")}
    stage = ours.pop("stage", DEFAULT_STAGE)
    base = of_stage(str(stage))
    if unknown := sorted(set(ours) - set(FIELDS)):
        raise SettingsError(_unknown(unknown[0]))
    return base.replace(**{name: parse(name, value) for name, value in ours.items()})


def parse(name: str, value: object) -> object:
    """One value by its setting's type. Raises SettingsError when it cannot be one."""
    text = str(value).strip()
    kind = TYPES[name]
    if type(None) in get_args(kind):
        if text.lower() in _NONE:
            return None
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    if get_args(kind):  # a Literal: all of one type
        kind = type(get_args(kind)[0])
    try:
        if kind is bool:
            return _TRUTH[text.lower()]
        return kind(text)
    except (KeyError, ValueError):
        raise SettingsError(f"{name}={text}: must be {wanted(name)}") from None


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, FIELDS, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{name}: there is no such setting{hint}. Settings: {', '.join(sorted(FIELDS))}"
