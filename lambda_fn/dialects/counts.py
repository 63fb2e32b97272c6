"""Reads the token counts of other servers, which stand under many names and in many places. Pure.

prompt_tokens, completion_tokens, prompt_tokens_details, ...   OpenAI, vLLM, LMI, TGI
reasoning_tokens beside them                                   SGLang
prompt_cache_hit_tokens                                        DeepSeek
cached_tokens beside them                                      Moonshot
input_tokens, output_tokens, cache_read_input_tokens           Anthropic, OpenAI's Responses
`timings`: prompt_n, cache_n, predicted_n                      llama.cpp
"""

from typing import Any

import msgspec

from lambda_fn.events import MOST

Number = Any
"""What a server may send in a count. Only a whole number from 0 is used."""


def count(value: Number) -> int | None:
    """Return a count, or None for a value that is null, negative, a fraction or not a number."""
    if type(value) is int:
        return value if 0 <= value < MOST else None
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 13:
        return int(value)
    if isinstance(value, float) and value.is_integer() and 0 <= value < MOST:
        return int(value)
    return None


class UsageFields(msgspec.Struct):
    """The members of a usage object."""

    prompt_tokens: Number = None
    completion_tokens: Number = None
    total_tokens: Number = None
    prompt_tokens_details: Number = None
    completion_tokens_details: Number = None
    cached_tokens: Number = None
    reasoning_tokens: Number = None
    prompt_cache_hit_tokens: Number = None
    input_tokens: Number = None
    output_tokens: Number = None
    input_tokens_details: Number = None
    output_tokens_details: Number = None
    cache_read_input_tokens: Number = None
    cache_creation_input_tokens: Number = None

    def plain(self) -> tuple[int, int] | None:
        """Return the counts of prompt and completion if they are well-formed and the only ones.
        Nearly all records are like that.
        """
        prompt, completion = self.prompt_tokens, self.completion_tokens
        if (
            type(completion) is int
            and type(prompt) is int
            and 0 < completion < MOST
            and 0 < prompt < MOST
            and self.completion_tokens_details is None
            and self.prompt_tokens_details is None
            and self.reasoning_tokens is None
            and self.cached_tokens is None
            and self.prompt_cache_hit_tokens is None
            and self.cache_read_input_tokens is None
        ):
            return prompt, completion
        return None


class Timings(msgspec.Struct):
    """The members of llama.cpp's `timings`. `prompt_n` does not count tokens from the cache."""

    prompt_n: Number = None
    cache_n: Number = None
    predicted_n: Number = None


class Counts(msgspec.Struct):
    """The counts of one record. None is a count that the record does not have."""

    prompt: int | None = None
    completion: int | None = None
    cached: int | None = None
    reasoning: int | None = None


def read_usage(usage: UsageFields) -> Counts | None:
    """Return the counts of a usage object, or None if it has none. Zeros alone do not count: some
    servers send them with each chunk.
    """
    prompt = _first(usage.prompt_tokens, usage.input_tokens)
    completion = _first(usage.completion_tokens, usage.output_tokens)
    if usage.prompt_tokens is None and prompt is not None:
        # Anthropic does not count what its cache reads or writes as input.
        prompt += count(usage.cache_read_input_tokens) or 0
        prompt += count(usage.cache_creation_input_tokens) or 0
    if completion is None and prompt is not None:
        total = count(usage.total_tokens)
        completion = None if total is None else max(0, total - prompt)
    cached = _first(
        _member(usage.prompt_tokens_details, "cached_tokens"),
        usage.prompt_cache_hit_tokens,
        usage.cached_tokens,
        _member(usage.input_tokens_details, "cached_tokens"),
        usage.cache_read_input_tokens,
    )
    reasoning = _first(
        _member(usage.completion_tokens_details, "reasoning_tokens"),
        usage.reasoning_tokens,
        _member(usage.output_tokens_details, "reasoning_tokens"),
    )
    total = count(usage.total_tokens)
    if prompt and completion and reasoning and total == prompt + completion + reasoning:
        completion += reasoning  # xAI counts reasoning apart
    if not (prompt or completion or cached or reasoning):
        return None
    return Counts(prompt, completion, cached, reasoning)


def read_timings(timings: Timings) -> Counts:
    """Return the counts of llama.cpp's `timings`."""
    cached = count(timings.cache_n)
    read = count(timings.prompt_n)
    prompt = None if read is None else read + (cached or 0)
    return Counts(prompt, count(timings.predicted_n), cached)


def _member(details: Number, name: str) -> Number:
    return details.get(name) if isinstance(details, dict) else None


def _first(*values: Number) -> int | None:
    """Return the first count over 0, else 0 if there is one, else None."""
    found = None
    for value in values:
        number = count(value)
        if number:
            return number
        found = number if found is None else found
    return found
