"""One sequence of the stand-in. A byte is a token.

Its text follows from the constraint on the answer, or from its seed.
"""

from __future__ import annotations

import codecs
import itertools
import json
import random
from typing import TYPE_CHECKING, Any

from tests.support.vllm_stand_in.values import CompletionOutput, Logprob, VLLMValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

EOS = 256
_LETTERS = "etaoinshrdlu"


def encode(text: str) -> list[int]:
    """Return the tokens of a text, one for each byte."""
    return list(text.encode())


def check_guide(guide: Any) -> None:
    """Raise the error of the grammar compiler for an invalid constraint.

    vLLM does that when it takes the request.
    """
    if guide is None or guide.json is None:
        return
    kinds = ("object", "array", "integer", "string", "boolean", "number", "null", None)
    if guide.json.get("type") not in kinds:
        raise VLLMValidationError(
            f"Failed to transform json schema into a grammar: unknown type {guide.json['type']}"
        )


def _instance(schema: dict[str, Any]) -> Iterator[str]:
    """Return an instance of a JSON schema, as far as the tests need it."""
    if "const" in schema:
        yield json.dumps(schema["const"], ensure_ascii=False)
    elif "enum" in schema:
        yield json.dumps(schema["enum"][0])
    elif schema.get("type") == "array":
        yield "["
        for place in range(schema.get("minItems", 1)):
            yield ", " if place else ""
            yield from _instance(schema.get("items", {}))
        yield "]"
    elif schema.get("type") == "object":
        yield "{"
        for place, name in enumerate(schema.get("required", ())):
            yield f"{', ' if place else ''}{json.dumps(name)}: "
            yield from _instance(schema["properties"][name])
        yield "}"
    else:
        yield {"integer": "7", "number": "0.5", "boolean": "true", "null": "null"}.get(
            schema.get("type", ""), '"x"'
        )


def said(prompt: str, params: Any, adapter: Any, index: int) -> Iterator[str]:
    guide = params.structured_outputs
    if "<think>" in prompt:  # the prompt ends so with templates of reasoning models
        yield "because</think>"
    if guide is not None and guide.structural_tag is not None:
        for name, schema in json.loads(guide.structural_tag):
            arguments = "".join(_instance(schema or {"type": "object"}))
            yield f'<tool_call>{{"name": "{name}", "arguments": {arguments}}}</tool_call>'
        return
    if guide is not None and (guide.json is not None or guide.json_object):
        yield from _instance(guide.json or {"type": "object"})
        return
    if guide is not None and guide.choice is not None:
        yield guide.choice[0]
        return
    if adapter is not None:
        yield f"[{adapter.lora_name}] "
    seed = None if params.seed is None else params.seed + index
    chosen = random.Random(0 if params.temperature == 0 or params.top_k == 1 else seed)
    for place in range(200):
        yield " " if place % 6 == 5 else chosen.choice(_LETTERS)


class Sequence:
    """One choice, from its prompt to its end.

    Like vLLM's detokenizer, it releases text once that cannot be part of a stop string.
    """

    def __init__(
        self, prompt_ids: list[int], params: Any, adapter: Any, index: int, most: int
    ) -> None:
        self.index = index
        self.finish_reason: str | None = None
        self.length = len(prompt_ids)
        self._params = params
        self._most = min(params.max_tokens, most - len(prompt_ids))
        text = bytes(prompt_ids).decode(errors="replace")
        plan = (byte for piece in said(text, params, adapter, index) for byte in piece.encode())
        self._plan = itertools.chain(plan, itertools.repeat(EOS))
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._sampled = 0
        self._text = ""
        self._shown = 0

    def step(self) -> Any:
        """Sample a token. Return the output of the step as a DELTA."""
        bias = self._params.logit_bias or {}
        token = (
            max(bias, key=lambda key: bias[key])
            if bias and max(bias.values()) >= 100
            else next(self._plan)
        )
        self._sampled += 1
        self.length += 1
        if token == EOS:
            self.finish_reason = "stop"
        else:
            self._text += self._decoder.decode(bytes([token]))
            self._cut_at_stop()
        if self.finish_reason is None and self._sampled >= self._most:
            self.finish_reason = "length"
        held = (
            0
            if self.finish_reason
            else max((len(stop) - 1 for stop in self._params.stop or ()), default=0)
        )
        end = max(self._shown, len(self._text) - held)
        text, self._shown = self._text[self._shown : end], end
        return CompletionOutput(
            index=self.index,
            text=text,
            token_ids=[token],
            cumulative_logprob=None,
            logprobs=None if self._params.logprobs is None else [self._candidates(token)],
            finish_reason=self.finish_reason,
        )

    def abort_output(self) -> Any:
        """Return the last output of an aborted request."""
        return CompletionOutput(
            index=self.index,
            text="",
            token_ids=[],
            cumulative_logprob=None,
            logprobs=None,
            finish_reason="abort",
        )

    def _cut_at_stop(self) -> None:
        for stop in self._params.stop or ():
            if (place := self._text.find(stop, max(0, self._shown - len(stop)))) >= 0:
                self._text = self._text[:place]
                self.finish_reason = "stop"

    def _candidates(self, token: int) -> dict[int, Any]:
        tokens = [token, *(other for other in range(97, 123) if other != token)][
            : max(1, self._params.logprobs)
        ]
        return {
            each: Logprob(
                logprob=-0.5 * rank, rank=rank, decoded_token=chr(each) if each < 128 else ""
            )
            for rank, each in enumerate(tokens, start=1)
        }
