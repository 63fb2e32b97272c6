"""A stand-in for only vLLM's engine core, behind the real vLLM.

It is for a Python that has vLLM installed, and a machine without a GPU. vLLM's own code then
renders, validates, compiles grammars, detokenizes, stops, merges and parses. Only the sampling,
which would run on a GPU, is replaced by the rules of `sequence.py`.
"""

from __future__ import annotations

import asyncio
import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy
import vllm.platforms
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast
from vllm.platforms.cpu import CpuPlatform
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs, FinishReason
from vllm.v1.engine.core_client import EngineCoreClient
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.outputs import LogprobsLists

from tests.support.vllm_stand_in.sequence import said

if TYPE_CHECKING:
    from pathlib import Path


class Core:
    """The client of the core, with the methods that AsyncLLM calls."""

    def __init__(self, vllm_config: Any, tokenizer: Any) -> None:
        self.engine_ranks_managed = [0]
        self.resources = SimpleNamespace(engine_dead=False)
        self.steps = 0
        self.running: dict[str, Any] = {}
        self._config = vllm_config
        self._tokenizer = tokenizer
        self._wake = asyncio.Event()

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        """Return the supported tasks."""
        return ("generate",)

    async def add_request_async(self, request: Any) -> None:
        """Add a sequence to the next step."""
        params = request.sampling_params
        prompt = self._tokenizer.decode(request.prompt_token_ids)
        guide = params.structured_outputs
        if guide is not None and guide.structural_tag is not None:
            guide = SimpleNamespace(
                structural_tag=_calls(guide.structural_tag), json=None, json_object=None
            )
        elif guide is not None and isinstance(guide.json, str):
            guide = SimpleNamespace(
                structural_tag=None, json=json.loads(guide.json), json_object=None
            )
        ruled = SimpleNamespace(
            structured_outputs=guide,
            seed=params.seed,
            temperature=params.temperature,
            top_k=params.top_k,
        )
        pieces = said(prompt, ruled, request.lora_request, 0)
        ids = (
            token
            for piece in pieces
            for token in self._tokenizer.encode(piece, add_special_tokens=False)
        )
        self.running[request.request_id] = SimpleNamespace(
            params=params,
            ids=ids,
            sampled=0,
            most=self._config.model_config.max_model_len - len(request.prompt_token_ids),
        )
        self._wake.set()

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        """Remove sequences from the next step."""
        for request_id in request_ids:
            self.running.pop(request_id, None)

    async def get_output_async(self) -> Any:
        """Return the outputs of the next step."""
        await asyncio.sleep(0)
        while not self.running:
            if self.resources.engine_dead:
                raise EngineDeadError
            self._wake.clear()
            await self._wake.wait()
        if self.resources.engine_dead:
            raise EngineDeadError
        self.steps += 1
        return EngineCoreOutputs(
            outputs=[self._step(request_id) for request_id in list(self.running)]
        )

    def _step(self, request_id: str) -> Any:
        each = self.running[request_id]
        params, end = each.params, self._tokenizer.eos_token_id
        bias = params.logit_bias or {}
        token = max(bias, key=lambda key: bias[key]) if bias else next(each.ids, end)
        each.sampled += 1
        reason = None
        if token == end:
            reason = FinishReason.STOP
        elif each.sampled >= min(params.max_tokens, each.most):
            reason = FinishReason.LENGTH
        if reason is not None:
            del self.running[request_id]
        logprobs = None
        if params.logprobs is not None:
            tokens = [token, *range(64, 64 + params.logprobs)]
            logprobs = LogprobsLists(
                numpy.array([tokens]),
                numpy.array([[-0.5 * place for place in range(1, len(tokens) + 1)]]),
                numpy.array([1]),
            )
        return EngineCoreOutput(request_id, [token], new_logprobs=logprobs, finish_reason=reason)

    def die(self) -> None:
        """Die as in a crash."""
        self.resources.engine_dead = True
        self._wake.set()

    def shutdown(self, timeout: float | None = None) -> None:
        """Do nothing: the stand-in holds no resources."""


def _calls(tag: str) -> str:
    """Return a structural tag's first tool call in the form of `sequence.py`."""
    name = re.search(r"get_\w+", tag)
    schema = {"city": "Rome"} if name and name.group() == "get_weather" else {"number": 7}
    return json.dumps([[name.group() if name else "none", {"const": schema}]])


def install() -> None:
    """Make AsyncLLM use this core, and make vLLM take the machine for a CPU platform."""
    CpuPlatform.device_count = classmethod(lambda cls: 1)
    vllm.platforms._current_platform = CpuPlatform()

    def make(*, vllm_config: Any, renderer: Any, **more: Any) -> Core:
        return Core(vllm_config, renderer.tokenizer)

    EngineCoreClient.make_async_mp_client = staticmethod(make)


_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content "
    "}}<|im_end|>\n{% endfor %}"
    "<|im_start|>assistant\n"
)


def make_model(folder: Path) -> None:
    """Write a configuration, and a tokenizer in which each byte is a token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    bytewise = Tokenizer(
        models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[])
    )
    bytewise.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytewise, eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>"]})
    tokenizer.add_tokens(["<think>", "</think>", "<tool_call>", "</tool_call>"])
    tokenizer.chat_template = _TEMPLATE
    tokenizer.save_pretrained(folder)
    LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=131_072,
        eos_token_id=tokenizer.eos_token_id,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)
