"""Which requests can be continued after their container has ended, and how (`continuing`)."""

import time
from collections.abc import Awaitable, Callable

import msgspec

from lambda_fn.aws.dynamodb import Table
from lambda_fn.dialects import Decoder, Dialect
from lambda_fn.errors import InvalidRequest
from lambda_fn.metering import settlements
from lambda_fn.schema import ChatRequest, Control
from lambda_fn.schema.messages import Assistant
from lambda_fn.schema.tools import JsonObject, JsonSchema
from lambda_fn.settings import Model
from lambda_fn.stream.admit import Admission
from lambda_fn.stream.continuing import Continuing, Partial, Runs
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.reservation import Reservation
from lambda_fn.stream.token_bounds import Bounds
from lambda_fn.stream.usage_counter import UsageCounter

Invoke = Callable[[str, bytes], Invocation]
"""Returns a new invocation of the model, from its request id and its body."""


def check(request: ChatRequest, dialect: Dialect) -> None:
    """Reject a request whose response could not be continued.

    Raises:
        InvalidRequest: the message says what stands in the way.

    """
    if (why := obstacle(request, dialect)) is not None:
        raise InvalidRequest(
            f"'sluice.on_cut' cannot be 'continue' here: {why}. Leave it out, or change the "
            "request.",
            param="sluice.on_cut",
            code="unsupported_parameter",
        )


def obstacle(request: ChatRequest, dialect: Dialect) -> str | None:
    """Return why the response to a request could not be continued, None if it could."""
    last = request.messages[-1]
    if not dialect.prefills:
        return "the server of this model does not continue an answer that has begun"
    if (request.n or 1) > 1:
        return "'n' is over 1, and only one choice can be continued"
    if request.tools is not None and request.tool_choice != "none":
        return "the request has 'tools', and a call cannot be continued"
    is_form = type(request.response_format) in (JsonObject, JsonSchema)
    if is_form or request.structured_outputs is not None:
        return "the form of the answer is guided, and would be guided from its beginning again"
    if request.logprobs:
        return "'logprobs' of the rest would have another prompt"
    if request.continue_final_message:
        has_text = type(last) is Assistant and isinstance(last.content, str)
        return None if has_text else "the last message has no plain text"
    if type(last) is Assistant:
        return "the last message is the assistant's, without 'continue_final_message'"
    return None


def continuing(
    invocation: Invocation,
    invoke: Invoke,
    request: ChatRequest,
    *,
    model: Model,
    dialect: Dialect,
    bounds: Bounds,
    control: Control,
    counter: UsageCounter,
    cancel: Callable[[str], Awaitable[object]],
    reserve: Callable[[int], Awaitable[bool]],
    seconds: float,
    stored: bool,
) -> Continuing:
    """Return the runs of a response, of which `invocation` is the first.

    Args:
        invocation: The first run, which is not sent yet.
        invoke: Makes the others.
        request: The request as the first run has it. `check` has passed it.
        model: The model.
        dialect: Its server's.
        bounds: The bounds of the request.
        control: What the container gets beside the first run.
        counter: Learns the tokens of further prompts.
        cancel: Cancels a run by its id.
        reserve: Reserves the tokens of a further prompt, and returns whether they were granted.
        seconds: The time limit of the response, from now.
        stored: Whether the response is logged.

    """
    ends = time.monotonic() + seconds

    def prompt_of(partial: Partial) -> int:
        """Return an upper bound of the prompt's tokens: no tokenizer makes two of a byte."""
        size = len(partial.text.encode()) + len(partial.reasoning.encode())
        return min(model.context_tokens, bounds.prompt + 2 * size)

    def begin(run_id: str, partial: Partial) -> tuple[Invocation, Decoder]:
        left = msgspec.structs.replace(
            bounds,
            completion=bounds.completion - partial.tokens,
            sent=None if bounds.sent is None else max(1, bounds.sent - partial.tokens),
        )
        asked = msgspec.structs.replace(
            control,
            request_id=run_id,
            deadline_ms=max(1000, int((ends - time.monotonic()) * 1000)),
            max_prompt_tokens=prompt_of(partial),
        )
        body = dialect.body(left.applied(behind(request, partial)), asked)
        return invoke(run_id, body), dialect.decoder(1, left.kept_here)

    return Continuing(
        invocation,
        dialect.decoder(1, bounds.kept_here),
        counter,
        Runs(
            begin=begin,
            cancel=cancel,
            reserve=lambda partial: reserve(prompt_of(partial)),
            most=bounds.completion,
            reasons=lambda partial: _reasons(partial, model),
            stored=stored,
        ),
    )


def behind(request: ChatRequest, partial: Partial) -> ChatRequest:
    """Return the request for what follows a part of its response.

    White space at the end of the part is left out, because many chat templates remove it.
    """
    text = partial.text.rstrip()
    changes: dict[str, object] = {}
    if request.min_tokens:
        changes["min_tokens"] = max(0, request.min_tokens - partial.tokens) or None
    messages, last = request.messages, request.messages[-1]
    if request.continue_final_message and type(last) is Assistant:
        said = f"{last.content or ''}{partial.text}".rstrip()
        last = msgspec.structs.replace(last, content=said)
        return msgspec.structs.replace(request, messages=[*messages[:-1], last], **changes)
    if not text:
        return msgspec.structs.replace(request, **changes)
    answer = Assistant(content=text, reasoning_content=partial.reasoning or None)
    return msgspec.structs.replace(
        request,
        messages=[*messages, answer],
        continue_final_message=True,
        add_generation_prompt=None,
        **changes,
    )


def _reasons(partial: Partial, model: Model) -> bool:
    """Return whether the reasoning of a partial response has not ended."""
    if not partial.text.strip():
        return bool(partial.reasoning)
    if model.reasoning == "none" or model.reasoning_tags is None:
        return False
    *opening, closing = model.reasoning_tags.split()
    begun = not opening or partial.text.lstrip().startswith(opening[0])
    return begun and closing not in partial.text


class PromptReserve:
    """Reserves further prompts of one request, in its growing reservation or in its hold."""

    def __init__(self, table: Table, admission: Admission, reservation: Reservation | None) -> None:
        """Take the usage table, and what the admission has reserved."""
        self._table = table
        self._admission = admission
        self._reservation = reservation
        self.hold = admission.entry

    async def __call__(self, tokens: int) -> bool:
        """Reserve tokens of a prompt. A key without budgets needs no reservation.

        Raises:
            MeterUnavailable: it is not known whether they were granted.

        """
        account = self._admission.account
        if account is None or self.hold is None or not account.limits.budgeted:
            return True
        if self._reservation is not None:
            return await self._reservation.add_prompt(tokens)
        hold = await settlements.extend_prompt(
            self._table, self._admission.opening, self.hold, tokens=tokens
        )
        self.hold = hold or self.hold
        return hold is not None
