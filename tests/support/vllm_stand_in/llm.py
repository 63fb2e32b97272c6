"""A stand-in for `AsyncLLM`, without a model.

Like vLLM's core, it schedules steps over all running sequences.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from prometheus_client import REGISTRY, Gauge

from tests.support.vllm_stand_in.pinned import as_pinned
from tests.support.vllm_stand_in.sequence import Sequence, check_guide, encode
from tests.support.vllm_stand_in.values import (
    EngineDeadError,
    EngineGenerateError,
    GracefulHTTPError,
    RequestOutput,
    RequestOutputKind,
    VLLMClientError,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable


class _Collector:
    """The merged outputs of a request that its reader has not taken yet."""

    def __init__(self, request_id: str, prompt_ids: list[int], sequences: list[Sequence]) -> None:
        self.request_id = request_id
        self.prompt_ids = prompt_ids
        self.sequences = sequences
        self._outputs: dict[int, Any] = {}
        self._ready = asyncio.Event()
        self._error: Exception | None = None

    def put(self, output: Any) -> None:
        before = self._outputs.setdefault(output.index, output)
        if before is not output:
            before.text += output.text
            before.token_ids += output.token_ids
            before.logprobs = None if before.logprobs is None else before.logprobs + output.logprobs
            before.finish_reason = output.finish_reason
        self._ready.set()

    def fail(self, error: Exception) -> None:
        self._error = error
        self._ready.set()

    async def get(self) -> RequestOutput:
        await self._ready.wait()
        if self._error is not None:
            raise self._error
        self._ready.clear()
        outputs, self._outputs = list(self._outputs.values()), {}
        finished = all(each.finish_reason is not None for each in self.sequences)
        return RequestOutput(self.request_id, None, self.prompt_ids, None, outputs, finished)


class AsyncLLM:
    """The engine. Its sequences advance together, one token a step.

    An aborted sequence is not in the next step.
    """

    step_seconds = 0.0  # seconds between two steps; 0 is one turn of the event loop

    def __init__(self, engine_args: Any) -> None:
        self.engine_args = engine_args
        self.steps = 0
        self.shut_down = False
        self.collectors: dict[str, _Collector] = {}
        self.model_config = SimpleNamespace(
            max_model_len=engine_args.max_model_len, get_diff_sampling_param=lambda: {"top_k": 20}
        )
        self.renderer = SimpleNamespace(
            tokenizer=SimpleNamespace(
                encode=lambda text, add_special_tokens: encode(text),
                decode=lambda tokens: bytes(tokens).decode(),
                max_token_id=255,
            )
        )
        self._dead = False
        self._loop: asyncio.Task[None] | None = None
        self._gauge = Gauge("vllm:kv_cache_usage_perc", "KV-cache usage", ("model_name", "engine"))
        self._gauge.labels(engine_args.model, "0").set_function(self._usage)

    @classmethod
    @as_pinned("AsyncLLM")
    def from_engine_args(
        cls,
        engine_args: Any,
        start_engine_loop: bool = True,
        usage_context: Any = None,
        stat_loggers: Any = None,
    ) -> AsyncLLM:
        """Return a new engine. Any thread may call this."""
        if engine_args.quantization == "unknown":
            raise ValueError("Unknown quantization method: unknown.\nMust be one of ['awq', 'fp8']")
        return cls(engine_args)

    def _usage(self) -> float:
        tokens = sum(
            each.length for collector in self.collectors.values() for each in collector.sequences
        )
        return float(tokens / (self.engine_args.max_num_seqs * self.engine_args.max_model_len))

    @property
    def running(self) -> list[tuple[_Collector, Sequence]]:
        """The sequences that the next step advances."""
        everything = [
            (collector, each)
            for collector in self.collectors.values()
            for each in collector.sequences
            if each.finish_reason is None
        ]
        return everything[: self.engine_args.max_num_seqs]

    async def _run(self) -> None:
        while True:
            for collector, sequence in self.running:
                collector.put(sequence.step())
            self.steps += 1
            await asyncio.sleep(self.step_seconds)
            for request_id, collector in list(self.collectors.items()):
                if all(each.finish_reason is not None for each in collector.sequences):
                    del self.collectors[request_id]
            if not self.collectors:
                self._loop = None
                return

    @as_pinned("AsyncLLM")
    async def generate(
        self,
        prompt: Any,
        sampling_params: Any,
        request_id: str,
        *,
        prompt_text: str | None = None,
        lora_request: Any = None,
        tokenization_kwargs: Any = None,
        trace_headers: Any = None,
        priority: int = 0,
        data_parallel_rank: int | None = None,
        session_id: str | None = None,
        kv_hints: Any = None,
        reasoning_ended: bool | None = None,
        reasoning_parser_kwargs: Any = None,
    ) -> AsyncGenerator[RequestOutput, None]:
        """Yield the outputs of a request. Closing the generator aborts the request."""
        if self.errored:
            raise EngineDeadError
        if sampling_params.output_kind is not RequestOutputKind.DELTA:
            raise EngineGenerateError from NotImplementedError(
                "this stand-in has DELTA output only"
            )
        if lora_request is not None and not self.engine_args.enable_lora:
            raise EngineGenerateError from ValueError("Got lora_request but LoRA is not enabled!")
        check_guide(sampling_params.structured_outputs)
        ids, most = prompt["prompt_token_ids"], self.model_config.max_model_len
        sequences = [
            Sequence(ids, sampling_params, lora_request, index, most)
            for index in range(sampling_params.n)
        ]
        collector = self.collectors[request_id] = _Collector(request_id, ids, sequences)
        if self._loop is None:
            self._loop = asyncio.create_task(self._run())
        try:
            finished = False
            while not finished:
                output = await collector.get()
                finished = output.finished
                yield output
        except (asyncio.CancelledError, GeneratorExit):
            await self.abort(request_id)
            raise
        except (EngineDeadError, VLLMClientError, GracefulHTTPError):
            raise
        except Exception as error:
            raise EngineGenerateError from error

    @as_pinned("AsyncLLM")
    async def abort(self, request_id: str | Iterable[str], internal: bool = False) -> None:
        """Remove requests from the next step. Their readers get a last output."""
        for name in [request_id] if isinstance(request_id, str) else list(request_id):
            if (collector := self.collectors.pop(name, None)) is not None:
                for each in collector.sequences:
                    each.finish_reason = each.finish_reason or "abort"
                collector.put(collector.sequences[0].abort_output())

    @as_pinned("AsyncLLM")
    async def check_health(self) -> None:
        """Raise EngineDeadError if the engine has died."""
        if self.errored:
            raise EngineDeadError

    @property
    def errored(self) -> bool:
        """Whether a process of the engine has died."""
        return self._dead

    def die(self) -> None:
        """Die as in a crash of the core."""
        self._dead = True
        for collector in self.collectors.values():
            collector.fail(EngineDeadError())
        self.collectors.clear()

    @as_pinned("AsyncLLM")
    def shutdown(self, timeout: float | None = None) -> None:
        """Release the metric."""
        if not self.shut_down:
            REGISTRY.unregister(self._gauge)
        self.shut_down = True
