"""The ASGI application of the recall function: its routes.

It serves the paths that the distribution sends to it (`infra.constructs.edge`), for the responses
of the key that asks. Those of another key do not exist for it.
"""

from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.http.responses import EXCEPTION_HANDLERS, json_response
from lambda_fn.recall.access import Access
from lambda_fn.recall.cancelling import Cancelling
from lambda_fn.recall.chats import Chats
from lambda_fn.recall.conversations import ConversationCalls
from lambda_fn.recall.responses import Responses
from lambda_fn.recall.stored import Stored
from lambda_fn.recall.streams import Streams
from lambda_fn.recall.tickets import PATH as TICKETS_PATH
from lambda_fn.recall.tickets import Tickets
from lambda_fn.settings import Settings
from lambda_fn.stream.middleware import HEALTH, Middleware, on_http_error
from lambda_fn.stream_log.readers import Readers

Endpoint = Callable[[Request, Caller, Send], Awaitable[Response | None]]
"""Answers an authenticated request: with a response, or None if it has sent one itself."""


def create_app(
    settings: Settings, client: Client, credentials: Callable[[], Credentials]
) -> ASGIApp:
    """Return the application. `credentials` is called for each call of an AWS API."""

    def table(name: str) -> Table:
        return Table(
            client,
            url=settings.dynamodb_url,
            region=settings.region,
            name=name,
            credentials=credentials,
        )

    usage = table(settings.usage_table)
    access = Access(usage)
    stored = Stored(table(settings.stream_table or ""))
    cancelling = Cancelling(settings, client, credentials, usage, stored)
    readers = Readers(stored.table, settings.recall_per_key)
    streams = Streams(settings, stored, cancelling, readers)
    responses = Responses(settings, stored, cancelling, readers)
    tickets = Tickets(settings, stored.table)
    chats = Chats(stored)
    conversations = ConversationCalls(settings, stored.table)

    async def health(request: Request) -> Response:
        return json_response({"status": "ok"})

    def route(path: str, method: str, endpoint: Endpoint) -> Route:
        return Route(path, _Authenticated(access, endpoint), methods=[method])

    api = Starlette(
        routes=[
            route("/v1/sluice/streams", "GET", streams.list),
            route("/v1/sluice/streams/{id}", "GET", streams.get),
            route("/v1/sluice/streams/{id}", "DELETE", streams.delete),
            route("/v1/sluice/streams/{id}/cancel", "POST", streams.cancel),
            route(TICKETS_PATH, "POST", tickets.create),
            route("/v1/responses/{id}", "GET", responses.get),
            route("/v1/responses/{id}", "DELETE", responses.delete),
            route("/v1/responses/{id}/cancel", "POST", responses.cancel),
            route("/v1/responses/{id}/input_items", "GET", responses.input_items),
            route("/v1/chat/completions/{id}", "GET", chats.get),
            route("/v1/chat/completions/{id}", "POST", chats.update),
            route("/v1/chat/completions/{id}", "DELETE", chats.delete),
            route("/v1/chat/completions/{id}/messages", "GET", chats.messages),
            route("/v1/conversations", "POST", conversations.create),
            route("/v1/conversations/{id}", "GET", conversations.get),
            route("/v1/conversations/{id}", "POST", conversations.update),
            route("/v1/conversations/{id}", "DELETE", conversations.delete),
            route("/v1/conversations/{id}/items", "POST", conversations.add),
            route("/v1/conversations/{id}/items", "GET", conversations.items),
            route("/v1/conversations/{id}/items/{item}", "GET", conversations.item),
            route("/v1/conversations/{id}/items/{item}", "DELETE", conversations.delete_item),
            *(Route(path, health, methods=["GET"]) for path in HEALTH),
        ],
        exception_handlers={**EXCEPTION_HANDLERS, HTTPException: on_http_error},
    )
    api.router.redirect_slashes = False
    return Middleware(api, settings, {})


class _Authenticated:
    """An ASGI application that authenticates and counts a request before its endpoint gets it."""

    def __init__(self, access: Access, endpoint: Endpoint) -> None:
        self._access = access
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        caller, headers = await self._access.admit(
            scope["sluice.request_headers"], scope.get("client")
        )
        scope["sluice.response_headers"] = {**headers, "cache-control": "no-store"}
        response = await self._endpoint(request, caller, send)
        if response is not None:
            await response(scope, receive, send)
