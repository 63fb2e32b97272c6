"""vLLM in this process: the engine for GPUs.

It uses `AsyncLLM`, whose core runs in separate processes. It is written for the version in
`VLLM_VERSION`; tests/support/vllm_stand_in checks the parts of vLLM that it uses against vLLM's
source. vLLM renders the chat template, counts the prompt, samples, stops, guides, and parses tool
calls and reasoning. This file passes one request through that and yields its events.

- vLLM merges outputs that are not read: for a slow reader it holds one output, with at most one
  context of text.
- A request ends when its generator is closed: vLLM's scheduler leaves it out of its next step.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, generate_latest

os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # threads exist by then
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("VLLM_MAX_STOP_STRINGS", "32")  # its default is OpenAI's 4

import vllm
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.chat_completion.stream_processor import ChatStreamProcessor
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.v1.engine.async_llm import AsyncLLM

from model import output
from model.engines import prompt_bounds, vllm_weights
from model.engines.vllm_arguments import engine_arguments
from model.engines.vllm_errors import error_of, reason_of, template_error
from model.engines.vllm_outputs import ChoiceReader, request_body
from model.errors import (
    ContextLengthError,
    EngineError,
    InvalidRequestError,
    ModelError,
    StartError,
    UnknownModelError,
)
from model.events import Event, Start, Usage
from model.schema import ChatRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from model.settings import Settings

VLLM_VERSION = "0.33.0"
SHUTDOWN_SECONDS = 2.0
_SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
_KINDS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "sampling": {"temperature": 0.7, "top_p": 0.9, "seed": 1},
    "log probabilities": {"logprobs": True, "top_logprobs": 1},
    "a schema": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA}}
    },
    "tools": {
        "tools": [{"type": "function", "function": {"name": "a", "parameters": _SCHEMA}}],
        "tool_choice": "required",
    },
}
"""The kinds of requests.

At the first request of a kind, vLLM and its libraries compile something.
"""


MAX_PIXELS = 40_000_000  # of an image, as in the stream function


def _bound_pictures() -> None:
    """Limit the pictures that Pillow, with which vLLM reads images, opens to `MAX_PIXELS`.

    It refuses those of more than twice its own limit, before it decompresses them.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2


class VllmEngine:
    """Implements `model.engines.base.Engine`."""

    def __init__(self, settings: Settings) -> None:
        self.active = 0
        self.steps = None
        self._settings = settings
        self._llm: Any = None
        self._renderer: Any = None
        self._closed = False
        self._running: set[str] = set()
        adapters = enumerate((settings.lora_adapters or {}).items(), start=1)
        self._adapters = {
            name: LoRARequest(name, number, folder) for number, (name, folder) in adapters
        }

    @property
    def healthy(self) -> bool:
        """False from the moment at which vLLM notices that a process of its engine has died."""
        return self._llm is not None and not self._closed and not self._llm.errored

    @property
    def vocabulary(self) -> int:
        """0: vLLM's grammars are automata over the vocabulary."""
        return 0

    @property
    def cache_usage(self) -> float | None:
        """The share of cache blocks in use, from vLLM's own gauge."""
        for family in REGISTRY.collect():
            if family.name == "vllm:kv_cache_usage_perc":
                return max((sample.value for sample in family.samples), default=None)
        return None

    async def metrics(self) -> bytes:
        """Return vLLM's metrics and those of this process, from the registry that they share."""
        return await asyncio.to_thread(generate_latest, REGISTRY)

    async def start(self) -> None:
        """Load the weights onto the GPUs, which takes minutes for large ones."""
        settings = self._settings
        if vllm.__version__ != VLLM_VERSION:
            output.say(f"made for vLLM {VLLM_VERSION}, this is {vllm.__version__}")
        folder = None
        if settings.model_id is None:
            folder = await asyncio.to_thread(vllm_weights.find, settings.model_dir)
        for name, adapter in self._adapters.items():
            if not os.path.isfile(f"{adapter.lora_path}/adapter_config.json"):  # noqa: ASYNC240, PTH113 - at start
                raise StartError(
                    f"SLUICE_LORA_ADAPTERS: {name}: no adapter_config.json in {adapter.lora_path}"
                )
        template = await asyncio.to_thread(settings.read_template)
        if settings.max_images:
            _bound_pictures()
        arguments = engine_arguments(settings, current_platform.device_count(), folder)
        try:
            self._llm = await asyncio.to_thread(
                AsyncLLM.from_engine_args, AsyncEngineArgs(**arguments)
            )
            await self._llm.check_health()
            self._renderer = OnlineRenderer(
                self._llm.model_config,
                self._llm.renderer,
                request_logger=None,
                chat_template=template,
                chat_template_content_format="auto",
                enable_auto_tools=settings.tool_parser is not None,
                exclude_tools_when_tool_choice_none=True,
                tool_parser=settings.tool_parser,
                reasoning_parser=settings.reasoning_parser,
            )
        except Exception as error:  # noqa: BLE001 - every failure is reported to the caller
            raise StartError(
                f"vLLM cannot serve {arguments['model']}: {reason_of(error)}"
            ) from None
        await self._try_template()
        await self._warm()

    async def _try_template(self) -> None:
        """Raise StartError if the chat template fails for every conversation."""
        user = {"role": "user", "content": "."}
        reasons = []
        for messages in ([user], [{"role": "system", "content": "."}, user]):
            try:
                await self._rendered(ChatRequest.model_validate({"messages": messages}))
            except Exception as error:  # noqa: BLE001 - every failure is reported to the caller
                reasons.append(reason_of(error))
            else:
                return
        raise StartError(
            f"the chat template fails for every conversation: {reasons[0]}; set "
            "SLUICE_CHAT_TEMPLATE to one that works"
        )

    async def _warm(self) -> None:
        """Answer one request of each kind, because the first one of a kind may take half a minute.

        Raises StartError if not even a plain request is answered.
        """
        for kind, more in _KINDS.items():
            if kind == "tools" and self._settings.tool_parser is None:
                continue
            body = {"messages": [{"role": "user", "content": "."}], "max_tokens": 2, **more}
            try:
                async for _ in self.generate(ChatRequest.model_validate(body)):
                    pass
            except ModelError as error:
                if kind == "plain":
                    raise StartError(f"the first request failed: {error}") from None
                output.say(f"the first request with {kind} failed: {error}")

    async def generate(self, request: ChatRequest) -> AsyncGenerator[list[Event], None]:
        """Yield the events of all choices, as they come."""
        adapter = self._adapter(request.model)
        if request.visible_tools and self._settings.tool_parser is None:
            raise InvalidRequestError(
                "tools: this model calls none here (SLUICE_TOOL_PARSER is not set)", "tools"
            )
        param = request.asks_reasoning
        if param is not None and self._settings.reasoning_parser is None:
            raise InvalidRequestError(
                f"{param}: this model does not reason here (SLUICE_REASONING_PARSER is not set)",
                param,
            )
        prompt_bounds.check(request, self._settings.context_tokens, 1)
        self.active += 1
        began = False
        # The caller's id may come again while vLLM still ends the earlier request.
        request_id = uuid.uuid4().hex
        self._running.add(request_id)
        try:
            chat, prompt = await self._rendered(request)
            prompt_ids = prompt["prompt_token_ids"]
            yield [Start(len(prompt_ids))]
            readers = [
                ChoiceReader(index, self._processor(chat), request.top_logprobs)
                for index in range(request.n)
            ]
            outputs = self._llm.generate(
                prompt,
                self._sampling(chat, request, len(prompt_ids)),
                request_id,
                lora_request=adapter,
                **self._reasoning(chat, prompt_ids),
            )
            async with contextlib.aclosing(outputs):
                async for output in outputs:
                    began = True
                    events = [
                        event
                        for part in output.outputs
                        for event in readers[part.index].events(part, output.prompt_token_ids)
                    ]
                    if events:
                        yield events
            if not all(reader.finished for reader in readers):
                raise EngineError("vLLM ended the answer early")
            yield [Usage(len(prompt_ids), sum(reader.tokens for reader in readers))]
        except ModelError:
            raise
        except Exception as error:  # noqa: BLE001 - mapped: this is the boundary to vLLM
            raise error_of(error, self._settings.context_tokens, began=began) from None
        finally:
            self._running.discard(request_id)
            self.active -= 1

    async def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text."""
        encode = self._llm.renderer.tokenizer.encode
        return list(await asyncio.to_thread(encode, text, add_special_tokens=special))

    async def detokenize(self, tokens: list[int]) -> str:
        """Return the text of tokens."""
        tokenizer = self._llm.renderer.tokenizer
        try:
            if tokens and max(tokens) > tokenizer.max_token_id:  # many leave such a token out
                raise IndexError
            return str(await asyncio.to_thread(tokenizer.decode, tokens))
        except (IndexError, KeyError, OverflowError, TypeError, ValueError):
            raise InvalidRequestError("tokens: there is no such token", "tokens") from None

    def _adapter(self, name: str | None) -> Any:
        """Return the adapter of that name, or None for the model itself.

        Without adapters, every name means the model.

        Raises UnknownModelError.
        """
        if not self._adapters or name in (None, self._settings.model_name):
            return None
        if name not in self._adapters:
            raise UnknownModelError(f"model: there are {', '.join(self._settings.models)}", "model")
        return self._adapters[name]

    async def _rendered(self, request: ChatRequest) -> tuple[Any, Any]:
        """Return vLLM's form of the request, and the prompt with its token ids.

        Rendering also sets the members of vLLM's request that guide the answer.

        Raises InvalidRequestError, and vLLM's errors.
        """
        chat = ChatCompletionRequest.model_validate(request_body(request))
        try:
            rendered = await self._renderer.render_chat(chat)
        except Exception as error:
            if (raised := template_error(error)) is not None:
                raise InvalidRequestError(raised, "messages") from None
            raise
        if not isinstance(rendered, tuple):  # an ErrorResponse
            raise InvalidRequestError(rendered.error.message, rendered.error.param)
        _, (prompt,) = rendered
        return chat, prompt

    def _sampling(self, chat: Any, request: ChatRequest, prompt_tokens: int) -> Any:
        room = self._settings.context_tokens - prompt_tokens
        if room <= 0:
            raise ContextLengthError.of(prompt_tokens, self._settings.context_tokens)
        return chat.to_sampling_params(
            min(room, request.limit or room), self._llm.model_config.get_diff_sampling_param()
        )

    def _parser(self, chat: Any) -> Any:
        if self._renderer.parser is None:
            return None
        return self._renderer.parser(
            self._llm.renderer.tokenizer,
            chat.tools,
            chat_template_kwargs=self._renderer.effective_chat_template_kwargs(chat),
            model_config=self._llm.model_config,
        )

    def _processor(self, chat: Any) -> Any:
        return ChatStreamProcessor(
            chat,
            self._parser(chat),
            enable_auto_tools=self._settings.tool_parser is not None,
            parser_cls=self._renderer.parser,
        )

    def _reasoning(self, chat: Any, prompt_ids: list[int]) -> dict[str, Any]:
        """Return the fields by which vLLM leaves reasoning before a guided answer unguided."""
        parser = self._parser(chat)
        kwargs = None
        if parser is not None and parser.reasoning_parser is not None:
            kwargs = {"chat_template_kwargs": self._renderer.effective_chat_template_kwargs(chat)}
        return {
            "reasoning_ended": chat.resolve_reasoning_ended(parser, prompt_ids),
            "reasoning_parser_kwargs": kwargs,
        }

    async def close(self) -> None:
        """Stop running requests, then vLLM's processes."""
        self._closed = True
        if self._llm is not None:
            await self._llm.abort(list(self._running))
            await asyncio.to_thread(self._llm.shutdown, SHUTDOWN_SECONDS)
