"""Reads in a server's error what a model's chat template raised. Pure.

Servers that render with Jinja pass the exception's text on in their own ways, and with any status:

    Conversation roles must alternate user/assistant/…           vLLM, SGLang (400), LMI (424)
    jinja2.exceptions.TemplateError: System role not supported   SGLang and LMI (500), with a trace
    Template error: invalid operation: … (in <string>:1)         TGI (422)
    While executing … in source: … Error: Jinja Exception: …     llama.cpp (500), with the template
"""

import re

from lambda_fn.events import Failure

_RAISED = re.compile(
    r"(?:Error: Jinja Exception|jinja2\.exceptions\.(?:TemplateError|UndefinedError)"
    r"|Template error: invalid operation|Template error): *"
)
_EXECUTING, _FAILED = "While executing ", "\nError: "
_KNOWN = re.compile(
    r"roles? must alternate|system role (is )?not supported|system messages? (is|are) not supported"
    r"|only (user|system|assistant|tool)\b.{0,60}\broles? (is|are) (supported|allowed)"
    r"|chat template (does not|doesn't) support|error (in|applying|rendering) (the )?chat template",
    re.IGNORECASE,
)
"""What the templates of well-known models raise, for servers that do not name the template."""
_PLACE = re.compile(r" \(in <string>:\d+\)$")
_WORDS = "The model's chat template does not accept the messages: "


def template_failure(failure: Failure) -> Failure:
    """Return the failure of a request whose messages the model's template does not accept.

    Any other failure is returned as it is.
    """
    text = failure.message
    if (raised := _RAISED.search(text)) is not None:
        sentence = text[raised.end() :]
    elif _EXECUTING in text and _FAILED in text:
        sentence = text.rpartition(_FAILED)[2]
    elif failure.code in ("invalid_request", "engine_error") and _KNOWN.search(text):
        sentence = text
    else:
        return failure
    sentence = _PLACE.sub("", sentence.strip().partition("\nTraceback")[0].strip())
    return Failure(
        code="invalid_request", message=f"{_WORDS}{sentence or 'no reason'}", param="messages"
    )
