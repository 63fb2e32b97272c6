"""Checks what a deployment does not show or let through, before anything is deployed.

Patterns are read by the code with which the stream function reads them: `lambda_fn.patterns`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from infra.settings.fields import SettingsError
from lambda_fn.patterns import KINDS
from lambda_fn.patterns.known import own_words
from lambda_fn.patterns.machine import check_size
from lambda_fn.patterns.syntax import PatternError, read

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MAX_OWN = 32
"""The maximum number of own patterns, and of lists of words."""


def check(
    patterns: Mapping[str, str],
    lists: Mapping[str, str],
    *,
    prefix: str = "redact",
    taken: Sequence[str] = KINDS,
) -> None:
    """Check patterns and lists of words.

    Args:
        patterns: Name -> pattern.
        lists: Name -> words with commas between them.
        prefix: The beginning of the settings' names.
        taken: Names that are not available.

    Raises:
        SettingsError: the message names the pattern or the list, and says why it is refused.

    """
    for setting, several in ((f"{prefix}_patterns", patterns), (f"{prefix}_words", lists)):
        if len(several) > _MAX_OWN:
            raise SettingsError(f"{setting}: at most {_MAX_OWN}, and these are {len(several)}")
        for name in several:
            if _NAME.fullmatch(name) is None or name in taken:
                others = f", and is none of {', '.join(taken)}" if taken else ""
                raise SettingsError(
                    f"{setting}={name[:40]!r}: a name has lower-case letters, digits and _, 32 at "
                    f"most{others}"
                )
    if both := sorted(set(patterns) & set(lists)):
        raise SettingsError(f"{prefix}_words={both[0]}: {prefix}_patterns has this name too")
    for name, source in patterns.items():
        try:
            check_size(read(source))
        except PatternError as error:
            raise SettingsError(f"{prefix}_patterns={name}: {error}") from None
    for name, text in lists.items():
        try:
            own_words(name, words_of(text))
        except PatternError as error:
            raise SettingsError(f"{prefix}_words={name}: {error}") from None


def words_of(text: str) -> list[str]:
    """Return the words of a list with commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def policy(
    kinds: Sequence[str],
    patterns: Mapping[str, str],
    lists: Mapping[str, str],
    *,
    pseudonyms: bool,
) -> dict[str, Any]:
    """Return the policy as `lambda_fn.settings.Redaction` reads it, without what is empty."""
    found = {
        "kinds": list(kinds),
        "patterns": dict(patterns),
        "words": {name: words_of(text) for name, text in lists.items()},
        "pseudonyms": pseudonyms,
    }
    return {name: value for name, value in found.items() if value}


def moderation(
    patterns: Mapping[str, str],
    lists: Mapping[str, str],
    *,
    guardrail: str | None,
    mode: str,
    fail_open: bool,
    scores: bool = False,
) -> dict[str, Any]:
    """Return the policy as `lambda_fn.settings.Moderation` reads it, without what is empty.

    `guardrail` is the id of a guardrail and its version, with a colon between them. `scores` tells
    whether nothing is blocked unless a key or a request says so.
    """
    found: dict[str, Any] = {
        "patterns": dict(patterns),
        "words": {name: words_of(text) for name, text in lists.items()},
    }
    if guardrail is not None:
        identifier, _, version = guardrail.partition(":")
        found["guardrail"] = {
            "id": identifier,
            "version": version,
            "mode": mode,
            "fail_open": fail_open,
        }
    kept = {name: value for name, value in found.items() if value}
    return {**kept, "mode": "score"} if kept and scores else kept
