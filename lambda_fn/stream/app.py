"""The ASGI application: its routes and what they share.

It is plain ASGI: the function's own runtime runs it on Lambda, and any ASGI server elsewhere.
Two entries of the scope are Lambda's and may be absent: `aws.context`, which has the deadline, and
`aws.after`, a list of tasks that end before the next invocation is fetched. A scope of the type
`RUN` is Lambda's, too: it has no request, and names a queued response that is to be run.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.http.responses import ANTHROPIC_PATH, EXCEPTION_HANDLERS, Bypass, json_response
from lambda_fn.runtime.event import RUN
from lambda_fn.schema import Rules
from lambda_fn.settings import Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.carrier import ScopeProcess
from lambda_fn.stream.completions import Completions
from lambda_fn.stream.middleware import (
    COMPACT_PATH,
    HEALTH,
    MULTIPLEX_PATH,
    RESPONSES_PATH,
    Middleware,
    on_http_error,
)
from lambda_fn.stream.negotiate import (
    read_chat,
    read_compaction,
    read_completion,
    read_message,
    read_response,
)
from lambda_fn.stream.pipeline import share

if TYPE_CHECKING:
    from lambda_fn.stream.endpoints.count_tokens import CountTokens
    from lambda_fn.stream.endpoints.embeddings import Embeddings
    from lambda_fn.stream.endpoints.models import Models
    from lambda_fn.stream.endpoints.single_calls import SingleCalls
    from lambda_fn.stream.endpoints.stored_chats import StoredChats
    from lambda_fn.stream.endpoints.tokenize import Tokenizer

CHAT_PATH = "/v1/chat/completions"


def create_app(
    settings: Settings, client: Client, credentials: Callable[[], Credentials]
) -> ASGIApp:
    """Return the application. `credentials` is called for each call of an AWS API."""
    table = Table(
        client,
        url=settings.dynamodb_url,
        region=settings.region,
        name=settings.usage_table,
        credentials=credentials,
    )
    gate = Gate(table, meter_open=settings.meter_open)
    rules = Rules(strict=settings.strict, loose_tool_history=settings.loose_tool_history)
    keeps = settings.stream_table is not None and settings.persistence != "off"
    tracer = None
    if settings.traces is not None:
        from lambda_fn.stream.traces import Tracer  # few deployments have any

        tracer = Tracer(settings, client, credentials)
    shared = share(settings, client, credentials, table, gate, tracer)
    read_kept_response = partial(
        read_response,
        rules=rules,
        keeps=keeps,
        store_default=settings.store_default,
    )
    completions = {
        CHAT_PATH: Completions(shared, partial(read_chat, rules=rules, keeps=keeps)),
        "/v1/completions": Completions(shared, partial(read_completion, rules=rules)),
        ANTHROPIC_PATH: Completions(shared, partial(read_message, rules=rules)),
        RESPONSES_PATH: Completions(shared, read_kept_response),
        COMPACT_PATH: Completions(shared, partial(read_compaction, rules=rules, keeps=keeps)),
    }

    def multiplex() -> ASGIApp:
        from lambda_fn.stream.endpoints.multiplex import Multiplex

        return Multiplex(settings, gate, completions)

    # The other endpoints are imported by their first request. So the cold start of a completion
    # does not pay for them.

    @cache
    def models() -> "Models":
        from lambda_fn.stream.endpoints.models import Models

        return Models(settings, gate)

    async def usage(request: Request) -> Response:
        from lambda_fn.stream.endpoints.usage import KeyUsage

        return await KeyUsage(table, gate)(request)

    async def list_models(request: Request) -> Response:
        return await models().list(request)

    async def get_model(request: Request) -> Response:
        return await models().get(request)

    @cache
    def single_calls() -> "SingleCalls":
        from lambda_fn.stream.endpoints.single_calls import SingleCalls

        return SingleCalls(settings, client, credentials, table, gate, tracer)

    @cache
    def counter(path: str) -> "CountTokens":
        from lambda_fn.stream.endpoints.count_tokens import of_messages, of_responses

        of = of_messages if path.startswith(ANTHROPIC_PATH) else of_responses
        return of(single_calls(), rules)

    async def count_tokens(request: Request) -> Response:
        return await counter(request.url.path)(request)

    @cache
    def tokenizer() -> "Tokenizer":
        from lambda_fn.stream.endpoints.tokenize import Tokenizer

        return Tokenizer(single_calls())

    async def tokenize(request: Request) -> Response:
        return await tokenizer().tokenize(request)

    async def detokenize(request: Request) -> Response:
        return await tokenizer().detokenize(request)

    @cache
    def embedder() -> "Embeddings":
        from lambda_fn.stream.endpoints.embeddings import Embeddings

        return Embeddings(single_calls())

    async def embeddings(request: Request) -> Response:
        return await embedder()(request)

    @cache
    def stored_chats() -> "StoredChats":
        from lambda_fn.stream.endpoints.stored_chats import StoredChats

        streams = Table(
            client,
            url=settings.dynamodb_url,
            region=settings.region,
            name=settings.stream_table or "",
            credentials=credentials,
        )
        return StoredChats(table, streams, gate)

    async def list_chats(request: Request) -> Response:
        return await stored_chats()(request)

    async def health(request: Request) -> Response:
        return json_response({"status": "ok"})

    async def openapi(request: Request) -> Response:
        return await models().document(request)

    streams: dict[str, ASGIApp] = {**completions, MULTIPLEX_PATH: _Later(multiplex)}
    api = Starlette(
        routes=[
            *(Route(path, endpoint, methods=["POST"]) for path, endpoint in streams.items()),
            Route(f"{ANTHROPIC_PATH}/count_tokens", count_tokens, methods=["POST"]),
            Route(f"{RESPONSES_PATH}/input_tokens", count_tokens, methods=["POST"]),
            *([Route(CHAT_PATH, list_chats, methods=["GET"])] if keeps else ()),
            Route("/v1/usage", usage, methods=["GET"]),
            Route("/v1/models", list_models, methods=["GET"]),
            Route("/v1/models/{name:path}", get_model, methods=["GET"]),
            Route("/v1/openapi.json", openapi, methods=["GET"]),
            Route("/v1/embeddings", embeddings, methods=["POST"]),
            *(Route(f"{at}/tokenize", tokenize, methods=["POST"]) for at in ("/v1", "")),
            *(Route(f"{at}/detokenize", detokenize, methods=["POST"]) for at in ("/v1", "")),
            *(Route(path, health, methods=["GET"]) for path in HEALTH),
        ],
        exception_handlers={**EXCEPTION_HANDLERS, HTTPException: on_http_error},
    )
    # A redirect would name the function URL, which clients must not use.
    api.router.redirect_slashes = False
    bypass = {("POST", path): Bypass(endpoint) for path, endpoint in streams.items()}
    requests = Middleware(api, settings, bypass)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == RUN:
            await completions[RESPONSES_PATH].run_queued(scope[RUN], ScopeProcess(scope))
        else:
            await requests(scope, receive, send)

    return app


class _Later:
    """An application that its first request makes."""

    def __init__(self, make: Callable[[], ASGIApp]) -> None:
        self._make = cache(make)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._make()(scope, receive, send)
