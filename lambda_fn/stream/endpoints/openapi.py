"""The OpenAPI document of the public API, made from the very types that requests are checked against.

It is imported and made when somebody first asks for it: a cold start on the way to a first token pays nothing for it.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from lambda_fn.schema import ChatRequest, CompletionRequest

_ERROR = {"$ref": "#/components/schemas/Error"}
_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "null"]},
                },
            }
        },
    },
    "Model": {
        "type": "object",
        "required": ["id", "object", "created", "owned_by"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "model"},
            "created": {"type": "integer"},
            "owned_by": {"type": "string"},
        },
    },
}
_REFUSALS = {
    "400": "The request makes no sense, or asks for what cannot be honoured; `param` names the field.",
    "401": "No key, or a wrong one.",
    "403": "The key is disabled, expired or replaced.",
    "404": "There is no such model, or the key may not use it.",
    "409": "The same request, sent before, still runs.",
    "413": "The body is too large.",
    "429": "A limit of the key is reached, or the model has no room.",
    "502": "The model failed.",
    "503": "A part that is needed is not there now.",
    "504": "The model took longer than it may.",
}


def document(models: Iterable[str]) -> bytes:
    """Give the document, for a deployment with these models, as JSON."""
    kinds = (ChatRequest, CompletionRequest)
    _, schemas = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    for kind in kinds:
        schemas[kind.__name__]["properties"]["model"]["enum"] = sorted(models)
    paths = {
        "/v1/chat/completions": {
            "post": _operation(
                "createChatCompletion",
                "Answer a chat, streamed or whole.",
                request="ChatRequest",
                answers=("application/json", "text/event-stream", "text/plain"),
            )
        },
        "/v1/completions": {
            "post": _operation(
                "createCompletion",
                "Go on from a prompt: the form before chat.",
                request="CompletionRequest",
                answers=("application/json", "text/event-stream"),
            )
        },
        "/v1/models": {"get": _operation("listModels", "The models that the key may use.")},
        "/v1/models/{model}": {
            "get": _operation("retrieveModel", "One model."),
            "parameters": [
                {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            ],
        },
    }
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {"title": "Sluice", "version": "1", "description": "An OpenAI-compatible chat-completions API."},
            "paths": paths,
            "components": {
                "schemas": {**schemas, **_SCHEMAS},
                "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            },
            "security": [{"key": []}],
        }
    )


def _operation(
    name: str, summary: str, *, request: str | None = None, answers: Iterable[str] = ("application/json",)
) -> dict[str, Any]:
    refusals = _REFUSALS if request else {status: _REFUSALS[status] for status in ("401", "403", "404", "503")}
    told: dict[str, Any] = {
        status: {"description": text, "content": {"application/json": {"schema": _ERROR}}}
        for status, text in refusals.items()
    }
    told["200"] = {"description": "The answer.", "content": {kind: {} for kind in answers}}
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": told}
    if request is not None:
        schema = {"$ref": f"#/components/schemas/{request}"}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation
