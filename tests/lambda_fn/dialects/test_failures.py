"""Refusals and errors of other servers -> public errors with their sentence and their status."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import errors
from lambda_fn.dialects.failures import failure_of
from lambda_fn.dialects.foreign import OPENAI

LLAMA = "request (4390 tokens) exceeds the available context size (4096 tokens), try increasing it"
VLLM = (
    "This model's maximum context length is 128000 tokens. However, you requested 65535 output tokens "
    "and your prompt contains at least 62466 input tokens, for a total of at least 128001 tokens."
)
SGLANG = (
    "Requested token count exceeds the model's maximum context length of 8192 tokens. You requested "
    "a total of 32012 tokens: 12 tokens from the input messages and 32000 tokens for the completion."
)


def body(value: Any) -> str:
    """Return a body as JSON."""
    return json.dumps(value)


TOO_LONG: dict[str, tuple[int, str]] = {
    "llama.cpp, 400 (ggml-org/llama.cpp#19774)": (
        400,
        body(
            {
                "error": {
                    "code": 400,
                    "message": LLAMA,
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 4390,
                    "n_ctx": 4096,
                }
            }
        ),
    ),
    "llama.cpp, 500 (ggml-org/llama.cpp#19774)": (
        500,
        body(
            {
                "error": {
                    "code": 500,
                    "message": "Context size has been exceeded.",
                    "type": "server_error",
                }
            }
        ),
    ),
    "llama.cpp, 500 of its own type (ggml-org/llama.cpp#15780)": (
        500,
        body(
            {
                "error": {
                    "code": 500,
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": 1407,
                    "n_ctx": 256,
                    "message": (
                        "the request exceeds the available context size. try increasing the context size or "
                        "enable context shift"
                    ),
                }
            }
        ),
    ),
    "llama.cpp, a batch": (
        500,
        body(
            {
                "error": {
                    "code": 500,
                    "message": "input (9000 tokens) is too large to process. increase the physical batch size",
                }
            }
        ),
    ),
    "llama-cpp-python (fedora-copr/logdetective-website#193)": (
        400,
        body(
            {
                "error": {
                    "message": "Requested tokens (2285) exceed context window of 2048",
                    "type": "invalid_request_error",
                }
            }
        ),
    ),
    "vLLM (vllm-project/vllm#42474)": (
        400,
        body({"error": {"message": VLLM, "type": "BadRequestError", "code": 400}}),
    ),
    "vLLM, characters": (
        400,
        body(
            {
                "error": {
                    "message": (
                        "You passed 900000 input characters and requested 10 output tokens. However, the model's "
                        "context length is only 8192 tokens, resulting in a maximum input length of 8182 tokens "
                        "(at most 810018 characters)."
                    ),
                    "code": 400,
                }
            }
        ),
    ),
    "older vLLM (ogx-ai/ogx#4534)": (
        400,
        body(
            {
                "object": "error",
                "message": (
                    "This model's maximum context length is 6048 tokens. However, you requested 6616 tokens "
                    "(568 in the messages, 6048 in the completion)."
                ),
                "type": "BadRequestError",
                "param": None,
                "code": 400,
            }
        ),
    ),
    "vLLM, a limit over the context": (
        400,
        body(
            {
                "error": {
                    "code": 400,
                    "message": (
                        "'max_tokens' or 'max_completion_tokens' is too large: 32000. This model's maximum context "
                        "length is 8192 tokens and your request has 12 input tokens (32000 > 8192 - 12)."
                    ),
                }
            }
        ),
    ),
    "SGLang, the sum": (
        400,
        body({"object": "error", "message": SGLANG, "type": "BadRequestError", "code": 400}),
    ),
    "SGLang, the prompt": (
        400,
        body(
            {
                "object": "error",
                "code": 400,
                "message": (
                    "The input (9001 tokens) is longer than the model's context length (8192 tokens)."
                ),
            }
        ),
    ),
    "SGLang, as detail": (400, body({"detail": SGLANG})),
    "TGI, the prompt": (
        422,
        body(
            {
                "error": (
                    "Input validation error: `inputs` must have less than 1023 tokens. Given: 2000"
                ),
                "error_type": "validation",
            }
        ),
    ),
    "TGI, the sum": (
        422,
        body(
            {
                "error": (
                    "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8192. "
                    "Given: 12 `inputs` tokens and 32000 `max_new_tokens`"
                ),
                "error_type": "validation",
            }
        ),
    ),
    "TGI, the limit": (
        422,
        body(
            {
                "error": "Input validation error: `max_new_tokens` must be <= 8192. Given: 32000",
                "error_type": "validation",
            }
        ),
    ),
    "LMI, with vLLM (xorbitsai/inference#3785)": (
        424,
        body(
            {
                "code": 424,
                "error": (
                    "The decoder prompt (length 21535) is longer than the maximum model length of 16384."
                ),
            }
        ),
    ),
    "LMI, its rolling batch": (
        424,
        body(
            {
                "code": 424,
                "error": "Input prompt (2100 tokens) is too long and exceeds limit of 2048",
            }
        ),
    ),
    "LMI, with TensorRT-LLM": (
        400,
        body({"code": 400, "error": "Prompt length (2048) exceeds maximum input length (1024)."}),
    ),
    "LMI, with Transformers": (
        424,
        body(
            {
                "code": 424,
                "error": "ValueError: Input length of input_ids is 9000, but `max_length` is 8192",
            }
        ),
    ),
    "LM Studio, in the middle of an answer": (
        500,
        body({"error": "Reached context length of 4096 tokens with model m (arch: qwen2)"}),
    ),
    "llama.cpp, without a shift": (500, body({"error": {"message": "context shift is disabled"}})),
    "TensorRT-LLM": (
        400,
        body({"error": "prompt length (9000) and max_tokens (9) should not exceed max_num_tokens"}),
    ),
    "a limit of input": (400, body({"detail": "Input tokens 9000 exceeds limit 8192"})),
    "KoboldCpp": (400, body({"detail": {"msg": "Context overflow: 9000 > 4096"}})),
    "DashScope": (400, body({"error": {"message": "Range of input length should be [1, 30720]"}})),
    "Moonshot (MoonshotAI/kimi-code#476)": (
        400,
        body({"error": {"message": "total message size 10176584 exceeds limit 2097152"}}),
    ),
    "a code of its own": (
        400,
        body({"error": {"message": "no", "code": "context_length_exceeded"}}),
    ),
    "JSON that was cut": (400, body({"error": {"message": VLLM, "code": 400}})[:150]),
}


@pytest.mark.parametrize(("status", "sent"), TOO_LONG.values(), ids=TOO_LONG)
def test_an_overflow_of_the_context_has_its_code(status: int, sent: str) -> None:
    """An overflow is a 400 `context_length_exceeded` with the server's sentence.

    Agents compact their conversation on it.
    """
    found = OPENAI.rejection(status, sent)
    assert (type(found), found.code) == (errors.ContextLengthExceeded, "context_length_exceeded")
    assert found.message in sent.encode().decode("unicode_escape")


SENTENCE = "temperature must be non-negative, got -1."
KEPT: dict[str, tuple[int, str]] = {
    "vLLM": (
        400,
        body(
            {"error": {"message": SENTENCE, "type": "BadRequestError", "param": None, "code": 400}}
        ),
    ),
    "detail": (400, body({"detail": SENTENCE})),
    "detail in detail": (400, body({"detail": {"error": {"message": SENTENCE}}})),
    "text (generative-ai-on-aws/generative-ai-on-aws#1)": (422, SENTENCE),
    "text over two lines": (400, "temperature must be non-negative,\n got -1.\n"),
    "JSON that was cut within the sentence": (400, '{"error": {"message": "' + SENTENCE),
    "JSON that was cut after it": (400, '{"error":{"message":"' + SENTENCE + '","type":"BadRequ'),
    "JSON that was cut within an escape": (400, '{"error":{"message":"' + SENTENCE + "\\u00e"),
    "JSON that was cut, of a TGI": (422, '{"error":"' + SENTENCE),
    "a code that is a text": (400, body({"error": {"message": SENTENCE, "code": "400"}})),
    "a code that is an object": (
        400,
        body({"error": {"message": SENTENCE, "code": {"a": 1}, "type": ["b"]}}),
    ),
    "a code that is no status": (400, body({"error": {"message": SENTENCE, "code": 20015}})),
    "a param that is a list": (
        400,
        body({"error": {"message": SENTENCE, "param": ["temperature"]}}),
    ),
    "a message that is an object": (400, body({"error": {"message": {"detail": SENTENCE}}})),
    "an error that is a list": (400, body({"error": [SENTENCE]})),
    "a list of errors": (
        400,
        body([{"error": {"code": 400, "message": SENTENCE, "status": "INVALID_ARGUMENT"}}]),
    ),
    "an error within a text": (400, body({"error": body({"message": SENTENCE, "code": 400})})),
    "LMI's front end (aws/sagemaker-python-sdk#2955)": (
        400,
        body({"code": 400, "type": "InternalServerException", "message": SENTENCE}),
    ),
    "errors": (400, body({"title": "Bad request", "errors": [], "error_message": SENTENCE})),
    "as an event": (400, "data: " + body({"error": {"message": SENTENCE}})),
    "a refusal with 501": (
        501,
        body({"error": {"code": 501, "message": SENTENCE, "type": "not_supported_error"}}),
    ),
    "a template's refusal with 500": (
        500,
        body({"error": SENTENCE, "error_type": "template_error"}),
    ),
}


@pytest.mark.parametrize(("status", "sent"), KEPT.values(), ids=KEPT)
def test_a_refusal_keeps_its_sentence(status: int, sent: str) -> None:
    """A refused request is a 400 with the server's own sentence, in whichever form it comes."""
    found = OPENAI.rejection(status, sent)
    assert (type(found), found.message) == (errors.InvalidRequest, SENTENCE)


def test_a_schema_that_does_not_compile_is_refused() -> None:
    """A schema of the request that a server cannot compile is no fault of the server."""
    sent = body({"object": "error", "message": "Failed to compile json grammar: x", "code": 500})
    found = OPENAI.rejection(500, sent)
    assert (type(found), found.message) == (
        errors.InvalidRequest,
        "Failed to compile json grammar: x",
    )


@pytest.mark.parametrize(
    ("param", "kept"),
    [("temperature", True), ("messages[0].content", True), ("a sentence", False), (["n"], False)],
)
def test_a_refusal_names_the_parameter(param: Any, *, kept: bool) -> None:
    """The parameter that vLLM names is the public error's, if it is a name."""
    sent = body({"error": {"message": SENTENCE, "type": "BadRequestError", "param": param}})
    assert OPENAI.rejection(400, sent).param == (param if kept else None)


def test_another_length_is_no_overflow() -> None:
    """Agents would compact a conversation in vain."""
    sent = body({"error": {"message": "the tool's name exceeds the maximum length of 64"}})
    assert type(OPENAI.rejection(400, sent)) is errors.InvalidRequest


def test_errors_by_field() -> None:
    """Errors under the names of fields become one sentence that names them."""
    sent = body({"title": "", "errors": {"temperature": ["must be <= 2"], "top_p": "no number"}})
    assert OPENAI.rejection(422, sent).message == "temperature: must be <= 2; top_p: no number"


def test_a_form_without_a_known_sentence_is_kept_as_it_is() -> None:
    """A dictionary as Python writes it is not JSON, and becomes the message itself."""
    sent = str({"object": "error", "message": SENTENCE})
    assert OPENAI.rejection(400, sent).message == sent


def test_a_list_of_fastapi_names_the_fields() -> None:
    """FastAPI's list becomes one sentence with the fields, and without what the caller sent.

    superduper-io/superduper#376 and jagmarques/asqav-sdk#205 have this form.
    """
    entries = [
        {
            "type": "missing",
            "loc": ["body", "messages"],
            "msg": "Field required",
            "input": {"secret": 1},
        },
        {
            "type": "int_parsing",
            "loc": ["body", "n", 0],
            "msg": "Input should be a valid integer",
            "input": "secret",
        },
    ]
    found = OPENAI.rejection(422, body({"detail": entries}))
    assert type(found) is errors.InvalidRequest
    assert found.message == "messages: Field required; n.0: Input should be a valid integer"


FULL: dict[str, tuple[int, str]] = {
    "SGLang": (
        503,
        body(
            {"object": "error", "message": "The request queue is full.", "type": "503", "code": 503}
        ),
    ),
    "SGLang, by priority": (
        503,
        body({"error": {"message": "The request is aborted by a higher priority request."}}),
    ),
    "TGI (huggingface/text-generation-inference#439)": (
        429,
        body({"error": "Model is overloaded", "error_type": "overloaded"}),
    ),
    "LMI": (
        503,
        body(
            {
                "code": 503,
                "type": "ServiceUnavailableException",
                "message": "Worker queue capacity exceeded for model: m",
            }
        ),
    ),
    "Anthropic (gotgenes/pi-anthropic-auth#73)": (
        529,
        body({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
    ),
    "a proxy": (429, "Too Many Requests"),
    "Ollama": (
        503,
        body({"error": "server busy, please try again.  maximum pending requests exceeded"}),
    ),
    "llama.cpp": (503, body({"error": {"message": "no slot available", "code": 503}})),
    "Ray Serve": (
        503,
        body({"detail": "Request dropped due to backpressure (num_queued_requests=2)"}),
    ),
    "Dynamo": (503, body({"error": {"message": "All workers are busy, please retry later"}})),
    "Envoy": (
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
    ),
    "a page": (429, "<html><body>429</body></html>"),
    "nothing": (429, ""),
}


@pytest.mark.parametrize(("status", "sent"), FULL.values(), ids=FULL)
def test_a_full_queue_says_when_to_come_again(status: int, sent: str) -> None:
    """A full queue is a 429 with `retry-after`, whatever the server calls it."""
    found = OPENAI.rejection(status, sent)
    assert (type(found), found.retry_after) == (errors.RateLimited, 1)
    assert found.message
    assert "<" not in found.message


@pytest.mark.parametrize(
    ("status", "sent", "kind"),
    [
        (
            503,
            body({"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
            errors.Unavailable,
        ),
        (
            503,
            body({"code": 503, "message": "All model workers has been shutdown: m"}),
            errors.Unavailable,
        ),
        (
            500,
            body({"error": {"message": "failed to allocate the cache for a context size of 8192"}}),
            errors.UpstreamFailed,
        ),
        (
            500,
            body({"error": {"message": "EngineCore died", "type": "BadRequestError", "code": 500}}),
            errors.UpstreamFailed,
        ),
        (500, "Internal Server Error", errors.UpstreamFailed),
        (504, "upstream request timeout", errors.UpstreamTimeout),
        (404, body({"detail": "Not Found"}), errors.UpstreamFailed),
        (
            424,
            body({"error": "CUDA out of memory", "error_type": "generation"}),
            errors.UpstreamFailed,
        ),
    ],
)
def test_a_failure_of_the_server_stays_one(
    status: int, sent: str, kind: type[errors.APIError]
) -> None:
    """A server's own fault is no fault of the request, and its words are not public."""
    found = OPENAI.rejection(status, sent)
    assert type(found) is kind
    assert found.message not in sent


def test_pydantics_entries_are_read_without_the_request() -> None:
    """The entries of vLLM are in Python's form, with what the request has at that place."""
    text = (
        "2 validation errors:\n  {'type': 'list_type', 'loc': 'body.messages', 'msg': 'Input should "
        "be a valid list', 'input': 'a secret'}\n  {'type': 'a', 'loc': 'body.n', 'msg': \"Input "
        "should be '1'\", 'input': 'another'}"
    )
    sent = {
        "error": {"message": text, "type": "Bad Request", "param": "body.messages", "code": 400}
    }
    found = failure_of(body(sent), 400)
    assert (found.code, found.param) == ("invalid_request", "messages")
    assert found.message == "messages: Input should be a valid list; n: Input should be '1'"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "message", "detail", "code", "type", "loc", "msg", "status"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(
    sent=JSON.map(json.dumps) | st.text(max_size=80) | st.binary(max_size=80),
    status=st.integers(0, 999),
    cut=st.integers(0, 200),
)
def test_any_error_becomes_a_failure(sent: str | bytes, status: int, cut: int) -> None:
    """No body makes the reader raise, cut or whole. The message is never empty."""
    for text in (sent, sent[:cut]):
        assert failure_of(text, status).message


def test_nested_errors_are_bounded() -> None:
    """Errors within errors, and a sentence without an end, take no more than their size."""
    assert failure_of('{"error":' * 50_000).code == "engine_error"
    deep = SENTENCE
    for _ in range(12):
        deep = body({"error": deep})
    assert failure_of(deep, 400).code == "invalid_request"
    assert len(failure_of('{"message":"' + '\\"' * 100_000, 400).message) <= 1_000
