"""Bounds of a request's tokens, and the limits that servers are sent."""

import json
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import dialects
from lambda_fn.schema import Control, parse_chat
from lambda_fn.settings import Model
from lambda_fn.stream.token_bounds import Bounds

CONTROL = Control(request_id="r", deadline_ms=1000, max_prompt_tokens=100, caller="k")
NAMES = get_args(get_type_hints(Model)["dialect"])


def sent(
    dialect: str, context: int, words: int, limit: int | None, **more: Any
) -> tuple[int | None, Bounds]:
    """Return the limit in the body that a server gets, and the bounds of the request."""
    text = "word " * words
    asked = {"model": "m", "messages": [{"role": "user", "content": text}], **more}
    data = json.dumps(asked if limit is None else {**asked, "max_tokens": limit}).encode()
    request = parse_chat(data)
    model = Model(endpoint="e", context_tokens=context, dialect=dialect)  # type: ignore[arg-type]
    bounds = Bounds.of(request, model, size=len(data))
    body = msgspec.json.decode(dialects.find(dialect).body(bounds.applied(request), CONTROL))
    limits = (body, body.get("parameters", {}))
    found = [it[name] for it in limits for name in ("max_tokens", "max_new_tokens") if name in it]
    return (found[0] if found else None), bounds


@pytest.mark.parametrize("dialect", ["openai", "lmi", "tgi"])
@given(
    context=st.sampled_from([1024, 8192, 131_072]),
    words=st.integers(0, 9000),
    limit=st.integers(1, 200_000) | st.none(),
)
def test_no_server_refuses_a_limit_that_it_is_sent(
    dialect: str, context: int, words: int, limit: int | None
) -> None:
    """Prompt and limit fit the context together, for vLLM, SGLang and TGI refuse what does not.

    A limit that may not fit is kept by the decoder, and is the one that was reserved.
    vllm-project/vllm#42474 and #19861 are such refusals.
    """
    found, bounds = sent(dialect, context, words, limit)
    most = min(limit or context, context)
    assert bounds.first == (most if limit else min(1024, context))
    if limit is None and dialect != "lmi":
        assert found is None
    if found is None:
        assert bounds.kept_here == bounds.completion == most
        return
    tokens = 2 * words + 100  # no tokenizer makes more of these words and a template
    assert tokens + found <= context
    assert found <= most
    assert bounds.kept_here is None


def test_a_limit_over_the_context_is_reduced() -> None:
    """A limit of 32,000 on a context of 8,192 leaves room for a short prompt."""
    for dialect in ("openai", "lmi", "tgi", "lmi-inputs"):
        found, _ = sent(dialect, 8192, 10, 32_000)
        assert found is not None
        assert 4096 <= found <= 8192 - 20


def test_a_limit_that_fits_is_sent_as_it_is() -> None:
    """A limit that fits reaches every server, for each choice, beside a long prompt too."""
    assert sent("openai", 32_768, 8000, 4096)[0] == 4096
    for dialect in NAMES:
        more = {} if dialect in {"tgi", "lmi-inputs"} else {"n": 2}
        assert sent(dialect, 8192, 10, 500, **more)[0] == 500


def test_our_container_gets_every_limit() -> None:
    """Our container counts prompts itself, and ends an answer at its context."""
    assert sent("sluice", 8192, 4000, 32_000)[0] == 8192


def test_a_server_without_a_default_of_its_own_gets_a_limit() -> None:
    """LMI generates 30 tokens without a limit in many of its versions. Others fill the context."""
    assert sent("lmi", 8192, 10, None)[0] == sent("lmi-inputs", 8192, 10, None)[0]
    assert 4096 < (sent("lmi", 8192, 10, None)[0] or 0) < 8192
    for dialect in ("sluice", "openai", "tgi"):
        assert sent(dialect, 8192, 10, None)[0] is None
    assert sent("lmi-inputs", 8192, 4000, 32_000)[0] == 2048
    assert sent("lmi-inputs", 8192, 4000, 7)[0] == 7
    assert sent("openai", 8192, 4000, 32_000)[0] is None
