"""What a deployment does not show is checked before it is deployed, and reaches the function."""

import json

import msgspec
import pytest

from infra.settings.context import settings_from_context
from infra.settings.deployment import DEV, SettingsError
from lambda_fn.settings import (
    NO_MODERATION,
    NO_REDACTION,
    Guardrail,
    Moderation,
    Redaction,
)

ORDER = r"\bORD-[0-9]{8}\b"


def test_a_policy_is_read_as_it_was_written() -> None:
    """The function reads what the synthesis hands over."""
    context = {
        "redact": "email,card",
        "redact_patterns": json.dumps({"order": ORDER}),
        "redact_words": json.dumps({"project": "Falcon, Blue Heron"}),
        "redact_as": "pseudonym",
    }
    policy = settings_from_context(context).redaction
    assert msgspec.convert(policy, Redaction) == Redaction(
        ("email", "card"), {"order": ORDER}, {"project": ("Falcon", "Blue Heron")}, pseudonyms=True
    )
    assert DEV.redaction == {}
    assert msgspec.convert({}, Redaction) == NO_REDACTION


def test_moderation_is_read_as_it_was_written() -> None:
    """The function reads rules and guardrail as the synthesis hands them over."""
    context = {
        "moderate_words": json.dumps({"weapons": "pipe bomb, nerve agent"}),
        "moderate_patterns": json.dumps({"order": ORDER}),
        "guardrail": "a1b2:3",
        "guardrail_mode": "async",
    }
    policy = settings_from_context(context).moderation
    assert msgspec.convert(policy, Moderation) == Moderation(
        {"order": ORDER},
        {"weapons": ("pipe bomb", "nerve agent")},
        Guardrail("a1b2", "3", "async", fail_open=False),
    )
    assert DEV.moderation == {}
    assert msgspec.convert({}, Moderation) == NO_MODERATION


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"redact": ("emails",)}, "redact=.*must be some of private_key, jwt"),
        ({"redact_patterns": {"order": "(a+)+b"}}, r"redact_patterns=order: \+ has no bound"),
        ({"redact_patterns": {"x": "(a|b){0,200}a(a|b){0,200}"}}, "redact_patterns=x: .*states"),
        ({"redact_patterns": {"x": "a{513}"}}, "513 characters"),
        ({"redact_patterns": {"email": "x"}}, "redact_patterns='email': a name has"),
        ({"redact_patterns": {"Order": "x"}}, "redact_patterns='Order': a name has"),
        ({"redact_patterns": {f"x{it}": "x" for it in range(33)}}, "at most 32"),
        ({"moderate_patterns": {"x": "a*"}}, r"moderate_patterns=x: \* has no bound"),
        ({"moderate_words": {"X": "a"}}, "moderate_words='X': a name has"),
        ({"guardrail": "a1b2"}, "guardrail=a1b2: must be the id and the version"),
        ({"guardrail": "arn:aws:bedrock:x:1:guardrail/a:1"}, "must be the id and the version"),
        ({"redact_words": {"x": ","}}, "redact_words=x: the words have 0 characters"),
        ({"redact_words": {"x": "y" * 600}}, "redact_words=x: a word has"),
        ({"redact_words": {"x": "y"}, "redact_patterns": {"x": "y"}}, "redact_words=x: redact_pat"),
    ],
)
def test_a_wrong_policy_is_refused(changes: dict[str, object], why: str) -> None:
    """The error names the setting and says why."""
    with pytest.raises(SettingsError, match=why):
        DEV.replace(**changes)
