"""The OpenAPI document of the public API, made from the types that requests are validated against.

The first request for the document imports this module, so the cold start of a completion does not
pay for it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from lambda_fn.schema import ChatRequest, CompletionRequest
from lambda_fn.schema.anthropic import CountRequest, MessagesRequest
from lambda_fn.schema.embeddings import EmbeddingsRequest
from lambda_fn.schema.responses import CompactRequest, InputTokensRequest, ResponsesRequest
from lambda_fn.schema.responses.conversations import ChangedMetadata, NewConversation, NewItems
from lambda_fn.schema.tokenize import DetokenizeRequest, TokenizeRequest
from lambda_fn.stream.endpoints.multiplex import MultiplexRequest
from lambda_fn.stream.middleware import MULTIPLEX_PATH

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
    "AnthropicError": {
        "type": "object",
        "required": ["type", "error", "request_id"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
            },
            "request_id": {"type": "string"},
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
    "400": (
        "The request is invalid, or asks for something that is not supported. `param` names the "
        "field."
    ),
    "401": "The API key is missing or wrong.",
    "403": "The API key is disabled, expired or replaced, or may not be used from this address.",
    "404": "The model does not exist, or the key may not use it.",
    "409": "The request is a retry of one that is still running.",
    "413": "The body is too large.",
    "415": "The body has a content-encoding that is not supported.",
    "429": "A limit of the key is reached, or the model is at capacity.",
    "502": "The model failed.",
    "503": "A dependency is unavailable. Try again later.",
    "504": "The model took longer than allowed.",
}


def document(models: Iterable[str], *, keeps: bool = False) -> bytes:
    """Return the document of a deployment with these models, as JSON.

    `keeps` tells whether it keeps responses, which the recall function serves then.
    """
    kinds = (
        *(ChatRequest, CompletionRequest, MessagesRequest, CountRequest),
        *(ResponsesRequest, InputTokensRequest, CompactRequest),
    )
    others = (EmbeddingsRequest, TokenizeRequest, DetokenizeRequest, MultiplexRequest)
    kept = (NewConversation, NewItems, ChangedMetadata) if keeps else ()
    every = (*kinds, *others, *kept)
    _, schemas = msgspec.json.schema_components(every, ref_template="#/components/schemas/{name}")
    for kind in kinds:
        schemas[kind.__name__]["properties"]["model"]["enum"] = sorted(models)
    paths: dict[str, dict[str, Any]] = {
        "/v1/chat/completions": {
            "post": _operation(
                "createChatCompletion",
                "Create a chat completion, streamed or whole.",
                request="ChatRequest",
                kinds=("application/json", "text/event-stream", "text/plain"),
            )
        },
        "/v1/completions": {
            "post": _operation(
                "createCompletion",
                "Create a text completion of a prompt.",
                request="CompletionRequest",
                kinds=("application/json", "text/event-stream"),
            )
        },
        "/v1/embeddings": {
            "post": _operation(
                "createEmbedding", "Create embeddings of texts.", request="EmbeddingsRequest"
            )
        },
        "/v1/tokenize": {
            "post": _operation(
                "tokenize", "Return the tokens of a text.", request="TokenizeRequest"
            )
        },
        "/v1/detokenize": {
            "post": _operation(
                "detokenize", "Return the text of tokens.", request="DetokenizeRequest"
            )
        },
        "/v1/messages": {
            "post": _operation(
                "createMessage",
                "Create a message in Anthropic's form, streamed or whole.",
                request="MessagesRequest",
                kinds=("application/json", "text/event-stream"),
                error="AnthropicError",
            )
        },
        "/v1/messages/count_tokens": {
            "post": _operation(
                "countTokens",
                "Count the tokens of a message's prompt, as the model's server counts them.",
                request="CountRequest",
                error="AnthropicError",
            )
        },
        "/v1/responses": {
            "post": _operation(
                "createResponse",
                "Create a response, streamed or whole.",
                request="ResponsesRequest",
                kinds=("application/json", "text/event-stream"),
            )
        },
        "/v1/responses/input_tokens": {
            "post": _operation(
                "getInputTokenCounts",
                "Count the tokens of a response's input, as the model's server counts them.",
                request="InputTokensRequest",
            )
        },
        "/v1/responses/compact": {
            "post": _operation(
                "compactConversation",
                "Summarise a conversation, and return the items that can stand in its place.",
                request="CompactRequest",
            )
        },
        MULTIPLEX_PATH: {
            "post": _operation(
                "createMultiplex",
                "Answer several chats and responses side by side in one event stream.",
                request="MultiplexRequest",
                kinds=("text/event-stream",),
            )
        },
        "/v1/models": {"get": _operation("listModels", "List the models that the key may use.")},
        "/v1/models/{model}": {
            "get": _operation("retrieveModel", "Retrieve one model."),
            "parameters": [
                {
                    "name": "model",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "minLength": 1},
                }
            ],
        },
    }
    if keeps:
        paths |= _kept()
        paths["/v1/chat/completions"]["get"] = _operation(
            "listChats",
            "List the key's stored chat completions; `metadata[name]=value` filters them.",
            query={
                "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
                "after": {"type": "string"},
                "order": {"enum": ["asc", "desc"], "default": "asc"},
                "model": {"type": "string"},
            },
        )
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Sluice",
                "version": "1",
                "description": (
                    "OpenAI's APIs for chat completions and responses, and Anthropic's Messages API."
                ),
            },
            "paths": paths,
            "components": {
                "schemas": {**schemas, **_SCHEMAS},
                "securitySchemes": {
                    "key": {"type": "http", "scheme": "bearer"},
                    "headerKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                },
            },
            "security": [{"key": []}, {"headerKey": []}],
        }
    )


def _kept() -> dict[str, Any]:
    """Return the paths of kept responses."""
    name = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    number = {"type": "integer", "minimum": 0}
    stream = ("application/json", "text/event-stream", "text/plain")
    read = _operation(
        "readStream",
        "Send a kept response in its own form, from behind a wire number on, or wait for its state.",
        kinds=stream,
        query={"starting_after": number, "wait": {**number, "maximum": 30}},
    )
    listing = {
        "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
        "after": {"type": "string"},
        "order": {"enum": ["desc", "asc"], "default": "desc"},
        "status": {
            "enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
        },
        "model": {"type": "string"},
    }
    responses = {
        "/v1/responses/{id}": {
            "get": _operation(
                "getResponse",
                "Return a kept response, or send its events from behind a number on.",
                kinds=stream[:2],
                query={"stream": {"type": "boolean"}, "starting_after": number, "wait": number},
            ),
            "delete": _operation("deleteResponse", "Delete a kept response that has ended."),
            "parameters": [name],
        },
        "/v1/responses/{id}/cancel": {
            "post": _operation("cancelResponse", "Cancel a response that runs."),
            "parameters": [name],
        },
        "/v1/responses/{id}/input_items": {
            "get": _operation(
                "listInputItems",
                "List the input of a kept response.",
                query={key: listing[key] for key in ("limit", "after", "order")},
            ),
            "parameters": [name],
        },
    }
    cancel = _operation("cancelStream", "Cancel a response that runs, kept or not.")
    return {
        **responses,
        **_chats(name, listing),
        **_conversations(name, listing),
        "/v1/sluice/streams": {
            "get": _operation("listStreams", "List the key's kept responses.", query=listing)
        },
        "/v1/sluice/streams/{id}": {
            "get": read,
            "delete": _operation("deleteStream", "Delete a kept response that has ended."),
            "parameters": [name],
        },
        "/v1/sluice/streams/{id}/cancel": {"post": cancel, "parameters": [name]},
    }


def _chats(name: Mapping[str, Any], listing: Mapping[str, Any]) -> dict[str, Any]:
    """Return the paths of a stored chat completion."""
    return {
        "/v1/chat/completions/{id}": {
            "get": _operation("getChat", "Return a stored chat completion."),
            "post": _change("updateChat", "Replace its metadata.", "ChangedMetadata"),
            "delete": _operation("deleteChat", "Delete a stored chat completion."),
            "parameters": [name],
        },
        "/v1/chat/completions/{id}/messages": {
            "get": _operation(
                "listChatMessages",
                "List the messages that a stored chat completion answers.",
                query={key: listing[key] for key in ("limit", "after", "order")},
            ),
            "parameters": [name],
        },
    }


def _conversations(name: Mapping[str, Any], listing: Mapping[str, Any]) -> dict[str, Any]:
    """Return the paths of conversations and their items."""
    item = {**name, "name": "item"}
    return {
        "/v1/conversations": {
            "post": _change(
                "createConversation", "Make a conversation.", "NewConversation", required=False
            )
        },
        "/v1/conversations/{id}": {
            "get": _operation("getConversation", "Return a conversation."),
            "post": _change("updateConversation", "Replace its metadata.", "ChangedMetadata"),
            "delete": _operation("deleteConversation", "Delete a conversation and its items."),
            "parameters": [name],
        },
        "/v1/conversations/{id}/items": {
            "get": _operation(
                "listItems",
                "List the items of a conversation.",
                query={key: listing[key] for key in ("limit", "after", "order")},
            ),
            "post": _change("createItems", "Append up to 20 items.", "NewItems"),
            "parameters": [name],
        },
        "/v1/conversations/{id}/items/{item}": {
            "get": _operation("getItem", "Return an item."),
            "delete": _operation("deleteItem", "Delete an item."),
            "parameters": [name, item],
        },
    }


def _operation(
    name: str,
    summary: str,
    *,
    request: str | None = None,
    kinds: Iterable[str] = ("application/json",),
    error: str = "Error",
    query: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    refusals = (
        _REFUSALS
        if request
        else {status: _REFUSALS[status] for status in ("401", "403", "404", "503")}
    )
    refusal = {"$ref": f"#/components/schemas/{error}"}
    responses: dict[str, Any] = {
        status: {"description": text, "content": {"application/json": {"schema": refusal}}}
        for status, text in refusals.items()
    }
    responses["200"] = {"description": "The response.", "content": {kind: {} for kind in kinds}}
    operation: dict[str, Any] = {"operationId": name, "summary": summary, "responses": responses}
    if query is not None:
        responses["400"] = {**responses["404"], "description": "A parameter is invalid."}
        operation["parameters"] = [
            {"name": name, "in": "query", "schema": schema} for name, schema in query.items()
        ]
    if request is not None:
        operation["requestBody"] = _body(request)
    return operation


def _change(name: str, summary: str, request: str, *, required: bool = True) -> dict[str, Any]:
    """Return an operation that changes what is kept. It calls no model."""
    operation = _operation(name, summary)
    refused = operation["responses"]["404"]
    for status in ("400", "413", "415", "429"):
        operation["responses"][status] = {**refused, "description": _REFUSALS[status]}
    operation["requestBody"] = _body(request, required=required)
    return operation


def _body(request: str, *, required: bool = True) -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{request}"}
    return {"required": required, "content": {"application/json": {"schema": schema}}}
