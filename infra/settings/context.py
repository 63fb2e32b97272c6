"""Read settings from the CDK context: `-c stage=dev -c parallel=8` -> Settings.

Values are text on the command line and JSON values in cdk.json. Both are parsed by the setting's
type.
"""

import difflib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_origin

from infra.settings.cdk_json import CDKS_OWN, placed, read
from infra.settings.deployment import FIELDS, TYPES, Settings, SettingsError, accepted, of_stage
from infra.settings.fields import RepeatedNameError, choices, is_optional, plain, read_json

DEFAULT_STAGE = "dev"
_NONE = {"", "none", "null"}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def settings_from_context(context: Mapping[str, object]) -> Settings:
    """Return the settings that a CDK context describes.

    CDK's own keys are ignored.

    Raises:
        SettingsError: a setting is unknown, or its type does not accept the value. The message has
            the choices.

    """
    ours = {key: it for key, it in context.items() if not any(mark in key for mark in CDKS_OWN)}
    stage = ours.pop("stage", DEFAULT_STAGE)
    base = of_stage(str(stage))
    if unknown := sorted(set(ours) - set(FIELDS)):
        raise SettingsError(_unknown(unknown[0]))
    changes = {name: parse(name, value) for name, value in ours.items()}
    if changes.get("container", base.container) != base.container:
        changes.setdefault("image_uri", None)  # the stage's image is for the stage's container
    return base.replace(**changes)


def check_early(environment: Mapping[str, str], folder: Path) -> None:
    """Exit with one line if the context that the CDK CLI passes on has a wrong setting.

    The line says whether it stands in cdk.json of the folder. `infra.compose` checks the context
    again, and one that is too long for `CDK_CONTEXT_JSON` for the first time.
    """
    try:
        context = json.loads(environment.get("CDK_CONTEXT_JSON", ""))
    except ValueError:
        return
    try:
        settings_from_context(context)
    except SettingsError as error:
        try:
            file = {name: it for name, it in read(folder).items() if context.get(name) == it}
        except SettingsError:
            file = {}
        changes = {name: it for name, it in context.items() if name not in file}
        text = placed(error, settings_from_context, file=file, changes=changes)
        sys.exit(f"sluice: {text}")


def parse(name: str, value: object) -> object:
    """Return a value parsed by its setting's type.

    Raises:
        SettingsError: the value is not of that type.

    """
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
        if (allowed := choices(kind)) is not None:  # all of one type
            kind = type(allowed[0])
        return _TRUTH[text.lower()] if kind is bool else kind(text)
    except RepeatedNameError as error:
        raise SettingsError(f"{name}: {error}") from None
    except (KeyError, ValueError, RecursionError):
        raise SettingsError(f"{name}={text}: must be {accepted(name)}") from None


def _several(value: object) -> tuple[str, ...]:
    """Return the texts of a list in cdk.json, or of a text with separators.

    The separator is a semicolon if there is a parenthesis, else a comma.
    """
    if isinstance(value, list | tuple):
        return tuple(map(str, value))
    text = str(value)
    return tuple(part.strip() for part in text.split(";" if "(" in text else ",") if part.strip())


def _named(value: object) -> dict[str, str]:
    """Return an object of cdk.json, or a JSON object in a text, with its values as text."""
    members = value if isinstance(value, Mapping) else read_json(str(value))
    if not isinstance(members, Mapping):
        raise ValueError("not an object")
    return {
        str(name): item if isinstance(item, str) else json.dumps(item)
        for name, item in members.items()
    }


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, FIELDS, n=1, cutoff=0.7)
    hint = f"Did you mean {close[0]}?" if close else "docs/reference/settings.md lists all."
    return f"{name}: there is no such setting. {hint}"
