"""The settings that stand in cdk.json, and which place a wrong one stands in."""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.settings.fields import SettingsError

CDKS_OWN = ":@/"
"""A key of the context with one of these characters is CDK's own: `aws:cdk:...`, `@aws-cdk/...`."""
FILE = "cdk.json"
_PLACE = 'cdk.json, "context"'
_HINT = "`git diff cdk.json` shows what was changed."


def read(folder: Path) -> dict[str, object]:
    """Return the context in cdk.json of a folder, with CDK's own keys.

    Raises:
        SettingsError: the file cannot be read, or is not what the CDK CLI reads.

    """
    try:
        data = (folder / FILE).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{folder / FILE} cannot be read: {error.strerror}. `git checkout cdk.json` restores it."
        ) from None
    try:
        content = json.loads(data.decode("utf-8-sig"))  # the CDK CLI skips such a mark, too
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
        raise SettingsError(
            f"cdk.json, line {line}, column {column}: a byte that is not UTF-8. {_HINT}"
        ) from None
    except json.JSONDecodeError as error:
        raise SettingsError(
            f"cdk.json, line {error.lineno}, column {error.colno}: it is not JSON: {error.msg}. "
            f"{_HINT}"
        ) from None
    except RecursionError:
        raise SettingsError(f"cdk.json is nested too deeply. {_HINT}") from None
    except ValueError:  # Python reads no longer numbers
        digits = sys.get_int_max_str_digits()
        raise SettingsError(
            f"cdk.json cannot be used: a number in it has over {digits:,} digits. {_HINT}"
        ) from None
    context = content.get("context", {}) if isinstance(content, dict) else None
    if not isinstance(context, dict):
        what = "the file" if context is None else _PLACE
        raise SettingsError(f"cdk.json cannot be used: {what} is not a JSON object. {_HINT}")
    return context


def placed(
    error: SettingsError,
    attempt: Callable[[Mapping[str, object]], object],
    *,
    file: Mapping[str, object],
    changes: Mapping[str, object],
) -> str:
    """Return the text of an error, with the place of the value if that is cdk.json.

    Args:
        error: What `attempt` raised for the context of the file with the changes.
        attempt: Checks a context.
        file: The context of cdk.json.
        changes: The settings that were given elsewhere, and the stage.

    """
    text = str(error)
    if _refusal(attempt, changes) == text:
        return text
    kept = {name: value for name, value in file.items() if name not in changes}
    stage = {name: value for name, value in changes.items() if name == "stage"}
    if _refusal(attempt, kept | stage) == text:
        return f"{_PLACE}: {text}"
    involved = [
        name
        for name in kept
        if not any(mark in name for mark in CDKS_OWN)
        and _refusal(attempt, {it: kept[it] for it in kept if it != name} | dict(changes)) != text
    ]
    return f"{text} ({_PLACE}, sets {', '.join(involved)})"


def _refusal(
    attempt: Callable[[Mapping[str, object]], object], context: Mapping[str, object]
) -> str | None:
    try:
        attempt(context)
    except SettingsError as error:
        return str(error)
    return None
