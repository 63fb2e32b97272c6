"""Moderation: checks prompts before the model is called, and makes the guard of an answer.

A deployment has rules and perhaps a guardrail. What they flag is blocked, or only reported. The
strictest of deployment, key and request counts:

    deployment   moderate_mode=block or score
    key          moderate=block
    request      "sluice": {"moderate": "block"}, or OpenAI's "moderation", whose policy has a mode
                 for input and output each, and whose response tells what was flagged
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import msgspec

from lambda_fn.aws.guardrails import Guardrail, GuardrailUnavailable
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import InvalidRequest
from lambda_fn.http.client import Client
from lambda_fn.log import log
from lambda_fn.schema import ChatRequest
from lambda_fn.settings import Moderation, Settings
from lambda_fn.stream.guard import Guard, joined_of, names_of, texts_of, unavailable

MODEL = "sluice-moderation"
"""The model that results name: a deployment's rules, and its guardrail."""


MAX_EARLIER = 50_000
"""Characters of the texts before the last turn that a guardrail judges: the last ones."""


class Modes(NamedTuple):
    """Whether prompt and answer are checked, whether what is flagged is blocked, and whether the
    response tells it.
    """

    checks_input: bool
    checks_output: bool
    blocks_input: bool
    blocks_output: bool
    tells: bool


def modes_of(policy: Moderation, request: ChatRequest, *, key_blocks: bool) -> Modes:
    """Return the modes of a request: the strictest of deployment, key and request."""
    blocks = policy.mode == "block" or key_blocks
    blocks = blocks or (request.sluice is not None and request.sluice.moderate == "block")
    asked = request.moderation
    wanted = None if asked is None else asked.policy
    sides = (None, None) if wanted is None else (wanted.input, wanted.output)
    blocks_input, blocks_output = (
        blocks or (side is not None and side.mode == "block") for side in sides
    )
    tells = asked is not None
    return Modes(blocks_input or tells, blocks_output or tells, blocks_input, blocks_output, tells)


def check_moderated(policy: Moderation, request: ChatRequest) -> None:
    """Check that a deployment has what a request asks for.

    Raises:
        InvalidRequest: it has no moderation. The request is not answered without one.

    """
    if not policy.is_empty:
        return
    for name, value in (
        ("moderation", request.moderation),
        ("sluice.moderate", None if request.sluice is None else request.sluice.moderate),
    ):
        if value is not None:
            raise InvalidRequest(
                f"Unsupported parameter: '{name}': this deployment has no moderation. Leave the "
                "parameter out, or ask the operator to set 'moderate_words', 'moderate_patterns' "
                "or 'guardrail'.",
                param=name,
                code="unsupported_parameter",
            )


class Moderator:
    """The moderation of one request, by the policy of its deployment."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        credentials: Callable[[], Credentials],
        modes: Modes,
    ) -> None:
        """Take what the requests share, and the request's modes."""
        policy: Moderation = settings.moderation
        self._policy = policy
        self.modes = modes
        self._flagged_input: set[str] = set()
        self.flagged: set[str] = set()
        """What was flagged in the answer until now."""
        self._input_failed = False
        self._guard: Guard | None = None
        self._guardrail: Guardrail | None = None
        if policy.guardrail is not None:
            self._guardrail = Guardrail(
                client,
                url=settings.bedrock_url,
                region=settings.region,
                identifier=policy.guardrail.id,
                version=policy.guardrail.version,
                credentials=credentials,
            )

    async def check(self, request: ChatRequest, request_id: str) -> None:
        """Check the texts of a request: all its messages, and what else the model may read of it.

        The caller sends all of them, and may have written the assistant's, too. Rules check every
        text. The guardrail is paid by the character, so it judges the last turn, and `MAX_EARLIER`
        characters before it.

        Raises:
            InvalidRequest: a rule or the guardrail blocks them.
            Unavailable: the guardrail did not answer, and its verdict is wanted.

        """
        if not self.modes.checks_input:
            return
        earlier, turn = texts_of(request.messages)
        earlier = [*_texts_beside(request), *names_of(request.messages), *earlier]
        if self._policy.has_rules:
            from lambda_fn.transform.moderation import flagged_in, rules_of

            rules = rules_of(self._policy.patterns, self._policy.words)
            texts = [*earlier, *turn, *joined_of(request.messages)]
            self._flagged_input |= (found := flagged_in(rules, texts))
            if found and self.modes.blocks_input:
                raise _blocked(request_id, "rules", found)
        if self._guardrail is None or self._policy.guardrail is None:
            return
        try:
            text = "\n".join([*_last(earlier, MAX_EARLIER), *turn])
            reasons = await self._guardrail.judge("INPUT", text)
        except GuardrailUnavailable as error:
            log("guardrail_unavailable", request_id=request_id, reason=str(error))
            self._input_failed = True
            if self._policy.guardrail.fail_open or not self.modes.blocks_input:
                return
            raise unavailable() from None
        self._flagged_input |= reasons
        if reasons and self.modes.blocks_input:
            raise _blocked(request_id, "guardrail", reasons)

    def guard(self, choices: int, request_id: str, *, whole: bool) -> Guard | None:
        """Return a new guard of an answer, or None if there is no guardrail, or none is wanted.

        `whole` tells whether the client gets the answer in one body.
        """
        settings = self._policy.guardrail
        if self._guardrail is None or settings is None or not self.modes.checks_output:
            return None
        self._guard = Guard(
            partial(self._guardrail.judge, "OUTPUT"),
            choices,
            mode=settings.mode,
            whole=whole,
            fail_open=settings.fail_open,
            request_id=request_id,
            flagged=self.flagged,
            blocks=self.modes.blocks_output,
        )
        return self._guard

    def told(self) -> msgspec.Raw:
        """Return what was flagged so far, in OpenAI's form."""
        failed = self._guard is not None and self._guard.failed
        sides = {
            "input": self._result(self._flagged_input, failed=self._input_failed),
            "output": self._result(self.flagged, failed=failed),
        }
        return msgspec.Raw(msgspec.json.encode(sides))

    def _result(self, flagged: Iterable[str], *, failed: bool) -> dict[str, Any]:
        if failed:
            return {
                "type": "error",
                "code": "guardrail_unavailable",
                "message": "The guardrail did not judge all of this text.",
            }
        found = set(flagged)
        names = sorted({*self._policy.patterns, *self._policy.words, *found})
        return {
            "type": "moderation_result",
            "model": MODEL,
            "flagged": bool(found),
            "categories": {name: name in found for name in names},
            "category_scores": {name: float(name in found) for name in names},
            "category_applied_input_types": {name: ["text"] for name in names},
        }


def _blocked(request_id: str, by: str, reasons: set[str] | frozenset[str]) -> InvalidRequest:
    log("blocked", request_id=request_id, by=by, source="input")
    return InvalidRequest(
        f"The request was blocked by this service's content filter ({', '.join(sorted(reasons))}). "
        "Change its messages. Earlier ones count, too.",
        param="messages",
        code="content_filter",
    )


def _texts_beside(request: ChatRequest) -> list[str]:
    """Return what the model may read beside the messages: what tools say about themselves, the
    schema of the answer, and the variables of the chat template.
    """
    waiting: list[Any] = [msgspec.to_builtins(tool) for tool in request.tools or ()]
    waiting.append(msgspec.to_builtins(request.response_format))
    waiting += (request.chat_template_kwargs or {}).values()
    texts: list[str] = []
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            texts.append(value)
        elif isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list):
            waiting += value
    return texts


def _last(texts: list[str], size: int) -> list[str]:
    """Return the last texts, with `size` characters in all."""
    kept: list[str] = []
    for text in reversed(texts):
        if size <= 0:
            break
        kept.append(text[-size:])
        size -= len(text)
    return kept[::-1]
