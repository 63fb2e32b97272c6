"""Settings of what a deployment does not show or let through, checked before it is deployed.

Patterns are read by the code with which the stream function reads them: `lambda_fn.patterns`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infra.settings.fields import SettingsError, setting
from lambda_fn.patterns import KINDS
from lambda_fn.patterns.known import own_words
from lambda_fn.patterns.machine import check_size
from lambda_fn.patterns.syntax import PatternError, read

GuardrailMode = Literal["sync", "async"]
ModerateMode = Literal["block", "score"]
RedactAs = Literal["label", "pseudonym"]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_MAX_OWN = 32
"""The maximum number of own patterns, and of lists of words."""


@dataclass(frozen=True, kw_only=True)
class FilterSettings:
    """What answers do not show, and what blocks prompts and ends answers."""

    # What no answer shows; keys and requests can add to it.
    redact: tuple[str, ...] = setting(
        default=(),
        pattern="|".join(KINDS),
        form=f"some of {', '.join(KINDS)}, with commas between them",
    )
    """The kinds of text that are replaced in answers."""
    redact_patterns: Mapping[str, str] = setting(
        default={},
        pattern=r"[^\x00-\x1f]{1,1000}",
        form='a JSON object of patterns: {"order": "ORD-[0-9]{8}"}',
    )
    """Patterns of the deployment's own, by name."""
    redact_words: Mapping[str, str] = setting(
        default={},
        pattern=r"[^\x00-\x1f]{1,4000}",
        form='a JSON object of lists of words: {"project": "Falcon, Blue Heron"}',
    )
    """Lists of words of the deployment's own, by name."""
    redact_as: RedactAs = "label"
    """What stands for a match: a label, or a pseudonym that is the same each time."""
    # What blocks prompts and ends answers.
    moderate_patterns: Mapping[str, str] = setting(
        default={},
        pattern=r"[^\x00-\x1f]{1,1000}",
        form='a JSON object of patterns: {"weapons": "(?i)pipe ?bombs?"}',
    )
    """Patterns of what is not let through, by category."""
    moderate_words: Mapping[str, str] = setting(
        default={},
        pattern=r"[^\x00-\x1f]{1,4000}",
        form='a JSON object of lists of words: {"weapons": "pipe bomb, nerve agent"}',
    )
    """Lists of words that are not let through, by category."""
    moderate_mode: ModerateMode = "block"
    """Whether what is flagged is blocked, or only told to requests that ask."""
    guardrail: str | None = setting(
        default=None,
        pattern=r"[a-z0-9]{1,64}:([1-9][0-9]{0,7}|DRAFT)",
        form="the id and the version of a guardrail of Amazon Bedrock, like a1b2c3d4e5f6:1",
    )
    """The guardrail that judges prompts and answers."""
    guardrail_mode: GuardrailMode = "sync"
    """Whether text is held until it was judged, or sent at once and cut."""
    guardrail_open: bool = False
    """Pass on texts that the guardrail did not judge."""

    @property
    def redaction(self) -> dict[str, Any]:
        """What no answer shows, as the stream function reads it. Empty: nothing is replaced."""
        return policy(
            self.redact,
            self.redact_patterns,
            self.redact_words,
            pseudonyms=self.redact_as == "pseudonym",
        )

    @property
    def moderation(self) -> dict[str, Any]:
        """What is not let through, as the stream function reads it. Empty: everything is."""
        return moderation(
            self.moderate_patterns,
            self.moderate_words,
            guardrail=self.guardrail,
            mode=self.guardrail_mode,
            fail_open=self.guardrail_open,
            scores=self.moderate_mode == "score",
        )

    def check_filters(self) -> None:
        """Raise SettingsError for the first pattern or list of words that is refused."""
        check(self.redact_patterns, self.redact_words)
        check(self.moderate_patterns, self.moderate_words, prefix="moderate", taken=())


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
    for option, several in ((f"{prefix}_patterns", patterns), (f"{prefix}_words", lists)):
        if len(several) > _MAX_OWN:
            raise SettingsError(f"{option}: at most {_MAX_OWN}, and these are {len(several)}")
        for name in several:
            if _NAME.fullmatch(name) is None or name in taken:
                others = f", and is none of {', '.join(taken)}" if taken else ""
                raise SettingsError(
                    f"{option}={name[:40]!r}: a name has lower-case letters, digits and _, 32 at "
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
