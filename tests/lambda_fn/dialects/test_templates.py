"""What a chat template raises behind other servers is the request's fault, in its own words."""

import json

import pytest

from lambda_fn import dialects, errors
from lambda_fn.dialects.failures import failure_of

ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."
OPTIONAL = (
    "After the optional system message, conversation roles must alternate user and assistant roles "
    "except for tool calls and results."
)
DUMP = (
    "\n------------\nWhile executing CallExpression at line 189, column 32 in source:\n"
    "...== 0) %}↵            {{- raise_exception('After the optional system message, con...\n"
    "                                           ^\nError: Jinja Exception: "
)
TRACE = 'Traceback (most recent call last):\n  File "a.py", line 1\n' * 40


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        # github.com/ggml-org/llama.cpp/issues/19851, mistralai/mistral-vibe/issues/1006,
        # sipeed/picoclaw/issues/207: llama.cpp's own server
        (500, {"error": {"code": 500, "message": DUMP + OPTIONAL, "type": "server_error"}}, OPTIONAL),
        # github.com/eigent-ai/eigent/issues/1394, idiap/sdialog/issues/122
        (500, {"error": {"code": 500, "message": DUMP + ALTERNATE, "type": "server_error"}}, ALTERNATE),
        (
            500,
            {
                "error": {
                    "code": 500,
                    "message": "\n------------\nWhile executing FilterExpression at line 1, column 3 "
                    "in source:\n...{{ x|nope }}...\n   ^\nError: Unknown (built-in) filter 'nope'",
                    "type": "server_error",
                }
            },
            "Unknown (built-in) filter 'nope'",
        ),
        # github.com/vllm-project/vllm/issues/17119: vLLM
        (400, {"object": "error", "message": ALTERNATE, "type": "BadRequestError", "code": 400}, ALTERNATE),
        (
            400,
            {"error": {"message": "System role not supported", "type": "BadRequestError", "code": 400}},
            "System role not supported",
        ),
        # github.com/sgl-project/sglang/issues/1342 and 892: SGLang
        (
            500,
            {"error": {"message": f"{TRACE}jinja2.exceptions.TemplateError: System role not supported"}},
            "System role not supported",
        ),
        # TGI
        (
            422,
            {
                "error": f"Template error: invalid operation: {ALTERNATE} (in <string>:1)",
                "error_type": "template_error",
            },
            ALTERNATE,
        ),
        # LMI
        (424, {"error": f"jinja2.exceptions.TemplateError: {ALTERNATE}", "code": 424}, ALTERNATE),
        (
            424,
            {"error": "jinja2.exceptions.UndefinedError: 'dict object' has no attribute 'content'", "code": 424},
            "'dict object' has no attribute 'content'",
        ),
    ],
)  # fmt: skip
def test_what_a_template_raises(status: int, body: object, said: str) -> None:
    """The client gets 400 with the raised sentence and `messages`, and nothing of the template."""
    for name in ("openai", "lmi", "tgi"):
        refusal = dialects.find(name).rejection(status, json.dumps(body))
        assert type(refusal) is errors.InvalidRequest
        assert (refusal.message, refusal.param) == (
            f"The model's chat template does not accept the messages: {said}",
            "messages",
        )


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (500, {"error": {"message": "CUDA error: out of memory", "code": 500}}, "engine_error"),
        (400, {"error": {"message": "top_p must be in (0, 1]", "code": 400}}, "invalid_request"),
        (503, {"error": {"message": "roles must alternate", "code": 503}}, "not_ready"),
    ],
)
def test_other_failures_stay(status: int, body: object, code: str) -> None:
    """Other failures are none of the template's."""
    failure = failure_of(json.dumps(body), status)
    assert (failure.code, failure.param) == (code, None)
