"""A guardrail's verdict, and what becomes of one that is throttled, down, slow or lying."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.guardrails import MAX_TEXT, Guardrail, GuardrailUnavailable
from lambda_fn.http.client import Client
from tests.support.function import CREDENTIALS
from tests.support.guardrail import BAD, BLOCKS, PASSES, GuardrailStandIn, guardrail_stand_in


@pytest.fixture(name="stand_in")
async def _stand_in() -> AsyncIterator[GuardrailStandIn]:
    async with guardrail_stand_in() as stand_in:
        yield stand_in


def guardrail(stand_in: GuardrailStandIn, http: Client) -> Guardrail:
    """Return the guardrail that the stand-in is."""
    return Guardrail(
        http,
        url=stand_in.url,
        region="eu-west-1",
        identifier="abc123",
        version="2",
        credentials=lambda: CREDENTIALS,
    )


async def test_verdicts(stand_in: GuardrailStandIn, http: Client) -> None:
    """It passes a text, or says which policies block it, and not which word of the text."""
    judge = guardrail(stand_in, http).judge
    assert await judge("INPUT", "a text") == frozenset()
    assert await judge("OUTPUT", f"a {BAD} text") == {"VIOLENCE", "wordPolicy"}
    assert stand_in.calls == [("INPUT", "a text"), ("OUTPUT", f"a {BAD} text")]
    assert set(stand_in.paths) == {"/guardrail/abc123/version/2/apply"}


async def test_a_long_text_is_judged_in_parts(stand_in: GuardrailStandIn, http: Client) -> None:
    """A call has at most 25 text units."""
    text = "x" * MAX_TEXT + BAD
    assert await guardrail(stand_in, http).judge("INPUT", text)
    assert [len(text) for _, text in stand_in.calls] == [MAX_TEXT, len(BAD)]


@pytest.mark.parametrize(
    "answer",
    [
        {**PASSES, "assessments": BLOCKS["assessments"]},  # says NONE, and lists what it blocked
        {"action": "GUARDRAIL_INTERVENED", "assessments": []},
        {
            "action": "GUARDRAIL_INTERVENED",
            "assessments": [
                {"sensitiveInformationPolicy": {"piiEntities": [
                    {"type": "EMAIL", "match": "a@b.c", "action": "ANONYMIZED"}]}}
            ],
        },
    ],
)  # fmt: skip
async def test_doubtful_verdicts_block(
    stand_in: GuardrailStandIn, http: Client, answer: dict[str, Any]
) -> None:
    """A text that is blocked in any part of the answer, or that would be masked, is blocked."""
    stand_in.first = [(200, answer)]
    assert await guardrail(stand_in, http).judge("OUTPUT", "x")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"action":"MAYBE"}',
        b'{"action":"NONE","assessments":{}}',
        b'{"action":"NONE","assessments":[7]}',
        b'{"action":"NONE"' + b" " * 600_000 + b"}",
        b"[" * 9_999,
    ],
)
async def test_malformed_answers_are_no_verdict(
    stand_in: GuardrailStandIn, http: Client, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is not of the API's form does not let a text through."""
    monkeypatch.setattr(limits, "GUARDRAIL_TIMEOUT", 0.5)
    stand_in.first = [(200, answer)] * 99
    with pytest.raises(GuardrailUnavailable):
        await guardrail(stand_in, http).judge("OUTPUT", "x")


async def test_throttling_and_faults_are_retried(stand_in: GuardrailStandIn, http: Client) -> None:
    """A call is repeated until there is a verdict."""
    stand_in.first = [(429, "ThrottlingException:http://x"), (500, "InternalServerException")]
    assert await guardrail(stand_in, http).judge("OUTPUT", BAD)
    assert len(stand_in.calls) == 3


@pytest.mark.parametrize("kind", ["AccessDeniedException", "ResourceNotFoundException", ""])
async def test_a_call_that_is_refused(stand_in: GuardrailStandIn, http: Client, kind: str) -> None:
    """A guardrail that may not be used or does not exist is called once."""
    stand_in.first = [(403, kind)]
    with pytest.raises(GuardrailUnavailable, match=kind or "status 403"):
        await guardrail(stand_in, http).judge("OUTPUT", "x")
    assert len(stand_in.calls) == 1


@pytest.mark.parametrize("throttled", [False, True])
async def test_it_has_a_time_limit(
    stand_in: GuardrailStandIn, http: Client, monkeypatch: pytest.MonkeyPatch, throttled: bool
) -> None:
    """One that never answers, or is always throttled, is given up."""
    monkeypatch.setattr(limits, "GUARDRAIL_TIMEOUT", 0.3)
    if throttled:
        stand_in.first = [(429, "ThrottlingException")] * 999
    else:
        stand_in.gate.clear()
    with pytest.raises(GuardrailUnavailable):
        await guardrail(stand_in, http).judge("OUTPUT", "x")
    stand_in.gate.set()
