"""Amazon Bedrock's `ApplyGuardrail`, which judges a text.

Source: the API reference of Bedrock's runtime. A text has at most `MAX_TEXT` characters here, which
is the quota of 25 text units of 1,000 characters a call.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from lambda_fn import limits
from lambda_fn.aws.service import Service
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError

MAX_TEXT = 25_000
_MAX_RESPONSE = 500_000
_HEADERS = {"content-type": "application/json"}
_TRANSIENT = {"ThrottlingException", "ServiceUnavailableException", "InternalServerException"}


class GuardrailUnavailable(Exception):
    """A guardrail did not judge a text. The message is the name of the error, without any text."""


class _Answer(msgspec.Struct):
    action: Literal["NONE", "GUARDRAIL_INTERVENED"]
    assessments: list[dict[str, Any]] = []  # msgspec makes a new list for each


_answer = msgspec.json.Decoder(_Answer)
_json = msgspec.json.Encoder().encode


class Guardrail:
    """One version of a guardrail."""

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        region: str,
        identifier: str,
        version: str,
        credentials: Callable[[], Credentials],
    ) -> None:
        """Set how to reach it; `credentials` is called for each call."""
        self._bedrock = Service(
            client,
            name="bedrock",
            url=url,
            region=region,
            credentials=credentials,
            max_response=_MAX_RESPONSE,
        )
        self._path = f"/guardrail/{identifier}/version/{version}/apply"

    async def judge(self, source: Literal["INPUT", "OUTPUT"], text: str) -> frozenset[str]:
        """Return why the guardrail intervenes: names of its policies. None means that it does not.

        A call is repeated after throttling or a fault, for `limits.GUARDRAIL_TIMEOUT` seconds in
        all. A text that the guardrail would mask counts as one that it blocks.

        Raises:
            GuardrailUnavailable: it did not answer in time, or its answer is malformed.

        """
        found: set[str] = set()
        deadline = time.monotonic() + limits.GUARDRAIL_TIMEOUT
        for place in range(0, max(1, len(text)), MAX_TEXT):
            found |= await self._part(source, text[place : place + MAX_TEXT], deadline)
        return frozenset(found)

    async def _part(self, source: str, text: str, deadline: float) -> set[str]:
        body = _json({"source": source, "content": [{"text": {"text": text}}]})
        reason, attempt = "TimeoutError", 0
        while (seconds := deadline - time.monotonic()) > 0:
            if attempt:
                pause = random.uniform(0, limits.META_BACKOFF * 2**attempt)  # noqa: S311 (spreads load, hides nothing)
                await asyncio.sleep(min(pause, seconds))
            attempt += 1
            try:
                reply = await self._bedrock.post(_HEADERS, body, path=self._path, seconds=seconds)
            except TransportError as error:
                reason = type(error).__name__
                continue
            if reply.status == 200:
                return _reasons(reply.content)
            reason = reply.error_type or f"status {reply.status}"
            if reply.status < 500 and reason not in _TRANSIENT:
                break
        raise GuardrailUnavailable(reason)


def _reasons(content: bytes) -> set[str]:
    """Return the names of the policies that intervene.

    An answer that says that nothing was done, and lists a policy that blocked, is not believed.
    """
    try:
        answer = _answer.decode(content)
        found = {
            str(item.get("type") or item.get("name") or policy)
            for assessment in answer.assessments
            for policy, lists in assessment.items()
            if isinstance(lists, dict)
            for items in lists.values()
            if isinstance(items, list)
            for item in items
            if isinstance(item, dict) and item.get("action") in ("BLOCKED", "ANONYMIZED")
        }
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise GuardrailUnavailable("malformed") from None
    if not found and answer.action != "NONE":
        found.add("guardrail")
    return {reason[:64] for reason in found}
