"""Token counts of other servers, in whichever place and form.

Each case has what stands in the last record, beside `choices`, and the client's counts: prompt,
completion, cached, reasoning.
"""

from typing import Any

import pytest

from lambda_fn.events import Delta
from tests.support.model_answers import answer, chunk, decode, sse

P, C = {"prompt_tokens": 30}, {"completion_tokens": 9}
BOTH = {**P, **C, "total_tokens": 39}
CASES: dict[str, tuple[dict[str, Any], tuple[int, int, int, int]]] = {
    "OpenAI, vLLM": (
        {
            "usage": {
                **BOTH,
                "prompt_tokens_details": {"cached_tokens": 8},
                "completion_tokens_details": {"reasoning_tokens": 4},
            }
        },
        (30, 9, 8, 4),
    ),
    "SGLang": (
        {"usage": {**BOTH, "prompt_tokens_details": {"cached_tokens": 8}, "reasoning_tokens": 4}},
        (30, 9, 8, 4),
    ),
    "DeepSeek (MetaFARS/codex-relay#23)": (
        {"usage": {**BOTH, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 22}},
        (30, 9, 8, 0),
    ),
    "Moonshot": ({"usage": {**BOTH, "cached_tokens": 8}}, (30, 9, 8, 0)),
    "OpenAI's Responses (router-for-me/CLIProxyAPI#3221)": (
        {
            "usage": {
                "input_tokens": 30,
                "output_tokens": 9,
                "input_tokens_details": {"cached_tokens": 8},
                "output_tokens_details": {"reasoning_tokens": 4},
            }
        },
        (30, 9, 8, 4),
    ),
    "Anthropic": (
        {"usage": {"input_tokens": 30, "output_tokens": 9, "cache_read_input_tokens": 8}},
        (38, 9, 8, 0),
    ),
    "llama.cpp's timings": (
        {
            "timings": {
                "cache_n": 8,
                "prompt_n": 22,
                "prompt_ms": 12.5,
                "predicted_n": 9,
                "predicted_ms": 80.1,
            }
        },
        (30, 9, 8, 0),
    ),
    "llama.cpp's usage and timings": (
        {"usage": BOTH, "timings": {"cache_n": 0, "prompt_n": 30, "predicted_n": 9}},
        (30, 9, 0, 0),
    ),
    "details that are null": (
        {"usage": {**BOTH, "prompt_tokens_details": None, "completion_tokens_details": None}},
        (30, 9, 0, 0),
    ),
    "details in other forms": (
        {"usage": {**BOTH, "prompt_tokens_details": [], "completion_tokens_details": "none"}},
        (30, 9, 0, 0),
    ),
    "details that are empty beside other places": (
        {
            "usage": {
                **BOTH,
                "prompt_tokens_details": {"cached_tokens": 0},
                "prompt_cache_hit_tokens": 8,
            }
        },
        (30, 9, 8, 0),
    ),
    "a null count and a total": (
        {"usage": {**P, "completion_tokens": None, "total_tokens": 39}},
        (30, 9, 0, 0),
    ),
    "null counts (livekit/agents#6596, co-l/openfox#236)": (
        {"usage": {"prompt_tokens": None, "completion_tokens": None, "total_tokens": None}},
        (0, 2, 0, 0),
    ),
    "no counts": ({"usage": {}}, (0, 2, 0, 0)),
    "a usage that is null": ({"usage": None}, (0, 2, 0, 0)),
    "a usage that is a list": ({"usage": []}, (0, 2, 0, 0)),
    "Anthropic's cached tokens beside OpenAI's counts, as of LiteLLM": (
        {"usage": {**BOTH, "cache_read_input_tokens": 8, "cache_creation_input_tokens": 2}},
        (30, 9, 8, 0),
    ),
    "Anthropic's cache that was written": (
        {"usage": {"input_tokens": 20, "output_tokens": 9, "cache_creation_input_tokens": 10}},
        (30, 9, 0, 0),
    ),
    "usage beside llama.cpp's timings": (
        {"usage": BOTH, "timings": {"prompt_n": 22, "cache_n": 8, "predicted_n": 9}},
        (30, 9, 8, 0),
    ),
    "Groq's usage": ({"x_groq": {"id": "r", "usage": BOTH}}, (30, 9, 0, 0)),
    "reasoning that is not within the completion, as xAI's": (
        {
            "usage": {
                "prompt_tokens": 30,
                "completion_tokens": 5,
                "total_tokens": 39,
                "completion_tokens_details": {"reasoning_tokens": 4},
            }
        },
        (30, 9, 0, 4),
    ),
    "zeros (mudler/LocalAI#1886)": (
        {"usage": {"prompt_tokens": 0, "completion_tokens": 0}},
        (0, 2, 0, 0),
    ),
    "texts": ({"usage": {"prompt_tokens": "30", "completion_tokens": "9"}}, (30, 9, 0, 0)),
    "fractions": ({"usage": {"prompt_tokens": 30.0, "completion_tokens": 9.0}}, (30, 9, 0, 0)),
    "negative counts": ({"usage": {"prompt_tokens": -1, "completion_tokens": -9}}, (0, 2, 0, 0)),
    "no numbers": ({"usage": {"prompt_tokens": "many", "completion_tokens": 9.5}}, (0, 2, 0, 0)),
    "more cached tokens than the prompt has": (
        {"usage": {**BOTH, "cached_tokens": 50}},
        (30, 9, 30, 0),
    ),
}


@pytest.mark.parametrize(("more", "counts"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside the finish"])
def test_counts_in_every_place(
    more: dict[str, Any], counts: tuple[int, int, int, int], *, alone: bool
) -> None:
    """A client has the server's own counts, in a last record or beside the finish.

    Without them it has one token for each delta.
    """
    texts = [chunk({"content": "a"}), chunk({"content": "b"})]
    last = [chunk({}, "stop"), {"choices": [], **more}] if alone else [chunk({}, "stop", **more)]
    assert answer(sse(*texts, *last)).counts == counts


def test_counts_in_a_choice() -> None:
    """Moonshot has the usage in the last choice."""
    last = chunk({}, "stop")
    last["choices"][0]["usage"] = {**BOTH, "cached_tokens": 8}
    assert answer(sse(chunk({"content": "a"}), last)).counts == (30, 9, 8, 0)


@pytest.mark.parametrize(
    "between",
    [
        {"usage": {"prompt_tokens_details": {"cached_tokens": 0}}},
        {"usage": None},
        {"usage": {}},
        {"usage": {"prompt_tokens": 0, "completion_tokens": 0}},
    ],
    ids=["part of a usage (theopenco/llmgateway#2861)", "null", "empty", "zeros"],
)
def test_counts_of_each_chunk(between: dict[str, Any]) -> None:
    """Running counts are kept through chunks without them, and are metered as they come.

    pydantic/pydantic-ai#7913 lost them at such a chunk.
    """
    details = {"prompt_tokens_details": {"cached_tokens": 8}}
    data = sse(
        chunk({"content": "a"}, usage={**P, "completion_tokens": 3, **details}),
        chunk({"role": "assistant"}, **between),
        chunk({"content": "b"}, usage={**P, "completion_tokens": 7, **details}),
        chunk({}, "stop", usage={**BOTH, **details}),
    )
    assert answer(data).counts == (30, 9, 8, 0)
    broken = decode("openai", data.partition(b'"stop"')[0])
    assert sum(event.tokens for event in broken if isinstance(event, Delta)) == 7


def test_ollama_has_counts_of_its_own() -> None:
    """Ollama's last record has its counts."""
    said = b'{"message":{"content":"a"},"done":false}\n'
    last = b'{"message":{"content":""},"done":true,"prompt_eval_count":30,"eval_count":9}\n'
    assert answer(said + last).counts == (30, 9, 0, 0)
