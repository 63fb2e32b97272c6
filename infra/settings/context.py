"""Settings from CDK context: `-c stage=dev -c parallel=8` -> Settings.

Values come as text from the command line, and as JSON values from cdk.json; both are read by the setting's type.
"""

import difflib
import json
from collections.abc import Mapping
from typing import get_origin

from infra.settings.deployment import FIELDS, TYPES, Settings, SettingsError, of_stage, wanted
from infra.settings.fields import choices, is_optional, plain

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
    changes = {name: parse(name, value) for name, value in ours.items()}
    if changes.get("container", base.container) != base.container:
        changes.setdefault("image_uri", None)  # the stage's image is of the stage's container
    return base.replace(**changes)


def parse(name: str, value: object) -> object:
    """One value by its setting's type. Raises SettingsError when it cannot be one."""
    text = str(value).strip()
    kind = TYPES[name]
    nothing = text.lower() in _NONE
    if nothing and is_optional(kind):
        return None
    kind = plain(kind)
    try:
        if get_origin(kind) is tuple:
            return () if nothing else _several(value)
        if get_origin(kind) is Mapping:
            return {} if nothing else _named(value)
        if (given := choices(kind)) is not None:  # all of one type
            kind = type(given[0])
        return _TRUTH[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise SettingsError(f"{name}={text}: must be {wanted(name)}") from None


def _several(value: object) -> tuple[str, ...]:
    """Texts between semicolons, or commas where there are none; a list of cdk.json as it is."""
    if isinstance(value, list | tuple):
        return tuple(map(str, value))
    text = str(value)
    return tuple(part.strip() for part in text.split(";" if "(" in text else ",") if part.strip())


def _named(value: object) -> dict[str, str]:
    """A JSON object of texts; one of cdk.json as it is."""
    found = value if isinstance(value, Mapping) else json.loads(str(value))
    if not isinstance(found, Mapping):
        raise ValueError("no object")
    return {str(name): item if isinstance(item, str) else json.dumps(item) for name, item in found.items()}


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, FIELDS, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    return f"{name}: there is no such setting{hint}. Settings: {', '.join(sorted(FIELDS))}"
