"""The admin API as an ASGI application. Only this file knows its parts."""

from collections.abc import Callable
from dataclasses import replace
from types import MethodType

from fastapi import Depends, FastAPI
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.secretsmanager import SecretsManager
from lambda_fn.aws.signing import Credentials
from lambda_fn.control import rights, sizes
from lambda_fn.control.auth import INVOKED, AdminSecret, Gate
from lambda_fn.control.error_handlers import HANDLERS
from lambda_fn.control.models_out import COMMON
from lambda_fn.control.openapi import describe
from lambda_fn.control.routers import (
    audit,
    budgets,
    conversations,
    keys,
    operations,
    reconcile,
    responses,
    service,
    usage,
)
from lambda_fn.control.services import IDENTITY, Services, Shared
from lambda_fn.control.settings import ControlSettings
from lambda_fn.control.trail import Identity, Trail
from lambda_fn.errors import APIError, encode_json
from lambda_fn.http.client import Client
from lambda_fn.http.responses import NOSNIFF, error_response, read_body
from lambda_fn.ids import masked, new_request_id
from lambda_fn.log import log
from lambda_fn.networks import viewer

PREFIX = "/admin/v1"
DOCUMENT = f"{PREFIX}/openapi.json"
_BODIES = {f"{PREFIX}/replay": sizes.REPLAY_BODY}
_DENIED = {401, 403}
_MAX_ADDRESS = 64


def create_app(
    settings: ControlSettings, client: Client, credentials: Callable[[], Credentials]
) -> "Middleware":
    """Return the application. `credentials` is called for each call to AWS."""

    def table(name: str) -> Table:
        return Table(
            client,
            url=settings.dynamodb_url,
            region=settings.region,
            name=name,
            credentials=credentials,
        )

    secret = None
    if settings.admin_secret is not None:
        manager = SecretsManager(
            client, url=settings.secretsmanager_url, region=settings.region, credentials=credentials
        )
        secret = AdminSecret(manager, settings.admin_secret)
    services = Services(
        table(settings.usage_table),
        settings.model_names,
        settings.unpriced,
        settings.default_max_streams,
        right=settings.right or "all",
        audit_days=settings.audit_days,
        streams=None if settings.stream_table is None else table(settings.stream_table),
    )
    return Middleware(
        create_api(services), Gate(secret, settings.origin_secrets, settings.right), services.trail
    )


def create_api(services: Services) -> FastAPI:
    """Return the endpoints without the middleware."""
    api = FastAPI(
        title="Sluice admin API",
        version="1.0.0",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=HANDLERS,
        dependencies=[Depends(_has_right)],
    )
    api.state.services = services
    for part in (
        *(keys, budgets, usage, responses, conversations),
        *(audit, reconcile, operations, service),
    ):
        api.include_router(part.router, prefix=PREFIX, responses=COMMON)
    api.openapi = MethodType(describe, api)  # type: ignore[method-assign]  # FastAPI documents this way to extend it
    api.add_route(DOCUMENT, _document, include_in_schema=False)
    return api


async def _document(request: Request) -> Response:
    """Return the OpenAPI document. It is the same for all callers, so it is made once."""
    state = request.app.state
    if not hasattr(state, "document"):
        state.document = encode_json(request.app.openapi())
    return Response(state.document, media_type="application/json")


def _has_right(request: Request, services: Shared) -> None:
    rights.check(services.right, request.scope["route"].operation_id)


class Middleware:
    """Assigns each request its id, authenticates its caller, and only then reads its body.

    A body is read up to its size limit. A caller who is denied, or lacks the right to the
    operation, gets an entry in the audit trail.
    """

    def __init__(self, api: ASGIApp, gate: Gate, trail: Trail) -> None:
        """Wrap `api`."""
        self._api = api
        self._gate = gate
        self._trail = trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        request_id = scope["sluice.request_id"] = new_request_id()
        headers_added = [
            (b"x-request-id", f"req_{request_id}".encode()),
            (b"cache-control", b"no-store"),
            NOSNIFF,
        ]
        event, headers = scope.get("aws.event", {}), Headers(scope=scope)
        context = scope.get("aws.context")
        source = (scope.get("client") or ("",))[0]
        identity = Identity(
            request_id,
            "unknown",
            source or None,
            None if context is None else context.aws_request_id,
        )
        denied = False

        async def send_with_id(message: Message) -> None:
            nonlocal denied
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *headers_added]
                where = {
                    "method": scope["method"],
                    "path": masked(scope["path"])[:200],
                    "address": identity.address,
                }
                log(
                    "admin",
                    request_id=request_id,
                    **where,
                    status=message["status"],
                    by=identity.actor,
                )
                denied = message["status"] == 403
            await send(message)

        try:
            self._gate.check_origin(event, headers)
            # Lambda does not tell the address of an invoker, and a request that bypassed CloudFront
            # may claim any.
            if event.get(INVOKED) is not True:
                address = viewer(headers.get("x-forwarded-for", ""), source)
                identity = replace(identity, address=address[:_MAX_ADDRESS] or None)
            if scope["path"] != DOCUMENT:  # the document has no secrets, and needs none
                identity = replace(identity, actor=await self._gate.check_admin(event, headers))
            scope[IDENTITY] = identity
            sizes.check_query(scope["query_string"])
            body = await read_body(
                receive, headers, max_bytes=_BODIES.get(scope["path"], sizes.BODY)
            )
            sizes.check_values(body)
        except APIError as error:
            await error_response(error)(scope, receive, send_with_id)
            if error.status in _DENIED:
                await self._trail.refused(identity, "signIn", error.code)
            return
        read = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive_again() -> Message:
            return next(read, None) or await receive()

        await self._api(scope, receive_again, send_with_id)
        if denied:
            await self._trail.refused(identity, scope["route"].operation_id, "right_missing")
