"""Moderation: checks prompts before the model is called, and makes the guard of an answer."""

from collections.abc import Callable
from functools import partial

from lambda_fn.aws.guardrails import Guardrail, GuardrailUnavailable
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import InvalidRequest
from lambda_fn.http.client import Client
from lambda_fn.log import log
from lambda_fn.schema import ChatRequest
from lambda_fn.settings import Moderation, Settings
from lambda_fn.stream.guard import Guard, texts_of_turn, unavailable


class Moderator:
    """The moderation of one deployment, for a policy that has any."""

    def __init__(
        self, settings: Settings, client: Client, credentials: Callable[[], Credentials]
    ) -> None:
        """Take what the requests share."""
        policy: Moderation = settings.moderation
        self._policy = policy
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
        """Check the texts of a request that came after the assistant's last message.

        Raises:
            InvalidRequest: a rule or the guardrail blocks them.
            Unavailable: the guardrail did not answer, and the deployment wants its verdict.

        """
        texts = texts_of_turn(request.messages)
        if self._policy.has_rules:
            from lambda_fn.transform.moderation import flagged_in, rules_of

            rules = rules_of(self._policy.patterns, self._policy.words)
            if found := flagged_in(rules, texts):
                raise _blocked(request_id, "rules", found)
        if self._guardrail is None or self._policy.guardrail is None:
            return
        try:
            reasons = await self._guardrail.judge("INPUT", "\n".join(texts))
        except GuardrailUnavailable as error:
            log("guardrail_unavailable", request_id=request_id, reason=str(error))
            if self._policy.guardrail.fail_open:
                return
            raise unavailable() from None
        if reasons:
            raise _blocked(request_id, "guardrail", reasons)

    def guard(self, choices: int, request_id: str, *, whole: bool) -> Guard | None:
        """Return a new guard of an answer, or None if there is no guardrail.

        `whole` tells whether the client gets the answer in one body.
        """
        settings = self._policy.guardrail
        if self._guardrail is None or settings is None:
            return None
        return Guard(
            partial(self._guardrail.judge, "OUTPUT"),
            choices,
            mode=settings.mode,
            whole=whole,
            fail_open=settings.fail_open,
            request_id=request_id,
        )


def _blocked(request_id: str, by: str, reasons: set[str] | frozenset[str]) -> InvalidRequest:
    log("blocked", request_id=request_id, by=by, source="input")
    return InvalidRequest(
        f"The request was blocked by this service's content filter ({', '.join(sorted(reasons))}). "
        "Change its last messages.",
        param="messages",
        code="content_filter",
    )
