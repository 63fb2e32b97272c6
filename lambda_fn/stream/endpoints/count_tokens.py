"""`POST /v1/messages/count_tokens` and `POST /v1/responses/input_tokens`: the tokens of a prompt,
as the model's server counts them.

The prompt is rendered by the model's own template, tools included. Our container counts without
generating. Other servers count only what they answer, so they are asked for one token. A count is a
request of its key, and none of its tokens: its ledger item has 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lambda_fn import dialects, limits
from lambda_fn.auth import read_key
from lambda_fn.dialects import Decoder
from lambda_fn.errors import APIError, UpstreamFailed, from_container
from lambda_fn.events import Failure, Start, Usage
from lambda_fn.schema import ChatRequest, Control, Rules
from lambda_fn.schema.messages import has_images
from lambda_fn.schema.reasoning import served
from lambda_fn.settings import Model
from lambda_fn.stream.endpoints.single_calls import Call, SingleCalls
from lambda_fn.stream.images import Image, images_of, text_size
from lambda_fn.stream.invoke import Invocation
from lambda_fn.stream.usage_counter import UsageCounter

_NEVER = float("inf")


class Prompt(NamedTuple):
    """The prompt to count: a chat, the paths of its images in the caller's body, and
    `soft_thinking` as in `ReadRequest`.
    """

    chat: ChatRequest
    images: tuple[str, ...] = ()
    soft_thinking: bool = False


class _Fitted(NamedTuple):
    """A chat as its model gets it, its images, and the size of its body without them."""

    chat: ChatRequest
    images: list[Image]
    size: int
    soft_thinking: bool


class CountTokens:
    """An endpoint that counts the tokens of a prompt."""

    def __init__(
        self,
        calls: SingleCalls,
        parse: Callable[[bytes, str], Prompt],
        content: Callable[[int], dict[str, Any]],
        restate: Callable[[APIError], None] = lambda _: None,
    ) -> None:
        """Take the object that calls the models, a parser of bodies, which also gets the id of the
        caller's key, the function that writes a count as an answer, and the one that names the
        caller's members in an error.
        """
        self._calls = calls
        self._parse = parse
        self._content = content
        self._restate = restate

    async def __call__(self, request: Request) -> Response:
        """Serve one request."""
        try:
            return await self._serve(request)
        except APIError as error:
            self._restate(error)
            raise

    async def _serve(self, request: Request) -> Response:
        caller = read_key(request.scope["sluice.request_headers"])

        def named(body: bytes) -> tuple[str, Prompt]:
            prompt = self._parse(body, caller.key_id)
            return prompt.chat.model, prompt

        call = await self._calls.accept(
            request, named, _fit, max_bytes=self._calls.settings.max_body
        )
        dialect = dialects.find(call.model.dialect)
        control = Control(
            request_id=request.scope["sluice.request_id"],
            deadline_ms=int(limits.COUNT_TIMEOUT * 1000),
            max_prompt_tokens=call.model.context_tokens,
            caller=call.caller.key_id,
            soft_thinking=call.asked.soft_thinking or msgspec.UNSET,
        )

        async def body() -> bytes:
            return dialect.count(await _with_images(call), control)

        async def read(invocation: Invocation, _: UsageCounter) -> dict[str, Any]:
            ours = call.model.dialect == "sluice"
            return self._content(await _counted(invocation, dialect.decoder(1), ours=ours))

        return await self._calls.respond(request, call, body, read, seconds=limits.COUNT_TIMEOUT)


def of_messages(calls: SingleCalls, rules: Rules) -> CountTokens:
    """Return the endpoint `POST /v1/messages/count_tokens`."""
    from lambda_fn.schema.anthropic import asked, parse_count

    def parse(body: bytes, _: str) -> Prompt:
        found = asked(parse_count(body), rules)
        return Prompt(found.chat, found.images, soft_thinking=True)

    return CountTokens(calls, parse, lambda tokens: {"input_tokens": tokens})


def of_responses(calls: SingleCalls, rules: Rules) -> CountTokens:
    """Return the endpoint `POST /v1/responses/input_tokens`."""
    from lambda_fn.schema.responses import History, asked, parse_input_tokens, restate
    from lambda_fn.seals import Seals

    def parse(body: bytes, key_id: str) -> Prompt:
        unseal = Seals(calls.settings.origin_secrets, key_id).open
        found = asked(parse_input_tokens(body), rules, History(unseal=unseal))
        return Prompt(found.chat, found.images)

    def content(tokens: int) -> dict[str, Any]:
        return {"object": "response.input_tokens", "input_tokens": tokens}

    return CountTokens(calls, parse, content, restate)


def _fit(name: str, model: Model, prompt: Prompt, size: int) -> _Fitted:
    """Return a prompt as this model gets it. Raises InvalidRequest if the model cannot take it."""
    dialect = dialects.find(model.dialect)
    chat = served(
        msgspec.structs.replace(prompt.chat, model=name),
        reasons=model.reasoning != "none",
        budgets=model.reasoning_budget,
        soft=prompt.soft_thinking,
        switches=dialect.switches,
    )
    dialect.check(chat)
    images = images_of(chat, model, prompt.images) if has_images(chat.messages) else []
    return _Fitted(chat, images, text_size(size, images), prompt.soft_thinking)


async def _with_images(call: Call[_Fitted]) -> ChatRequest:
    """Return the chat with every image in it, as completions have them."""
    chat, images, size, _ = call.asked
    if all(image.width for image in images):
        return chat
    from lambda_fn.stream.remote_images import with_images

    return await with_images(chat, images, call.model, size)


async def _counted(invocation: Invocation, decoder: Decoder, *, ours: bool) -> int:
    """Return the tokens of the prompt, once the response tells them.

    Our container tells them at once. With other servers, 0 is a count that is not known yet.

    Raises:
        APIError: the endpoint failed, or did not tell them.

    """
    ended = False
    while not ended:
        received = await invocation.read(_NEVER)
        if received is None:
            continue
        ended = not received
        for event in decoder.feed(received) if received else decoder.close():
            if (type(event) is Start or type(event) is Usage) and (ours or event.prompt_tokens):
                return event.prompt_tokens
            if type(event) is Failure:
                raise from_container(event.code, event.message, event.param)
    raise UpstreamFailed("The model's server did not tell how many tokens the prompt has.")
