"""The admin API as an ASGI application, and the only file that knows what it consists of."""

from collections.abc import Callable

from fastapi import FastAPI
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lambda_fn.aws.secretsmanager import SecretsManager
from lambda_fn.aws.signing import Credentials
from lambda_fn.control.authenticate import AdminSecret, Gate
from lambda_fn.control.settings import ControlSettings
from lambda_fn.errors import APIError
from lambda_fn.http import Client
from lambda_fn.ids import new_request_id
from lambda_fn.replies import EXCEPTION_HANDLERS, error_response

PREFIX = "/admin/v1"
DOCUMENT = f"{PREFIX}/openapi.json"


def create_app(settings: ControlSettings, client: Client, credentials: Callable[[], Credentials]) -> "Front":
    """Put the application together. `credentials` is asked at each call to AWS."""
    api = FastAPI(
        title="Sluice admin API",
        version="1.0.0",
        openapi_url=DOCUMENT,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        exception_handlers=EXCEPTION_HANDLERS,  # type: ignore[arg-type]  # each takes the errors it stands for
    )
    secret = None
    if settings.admin_secret is not None:
        manager = SecretsManager(
            client, url=settings.secretsmanager_url, region=settings.region, credentials=credentials
        )
        secret = AdminSecret(manager, settings.admin_secret)
    return Front(api, Gate(secret, settings.origin_secrets))


class Front:
    """What every request passes first: it gets its id and, unless its caller may administer, its refusal."""

    def __init__(self, api: ASGIApp, gate: Gate) -> None:
        """Stand in front of `api`."""
        self._api = api
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request."""
        if scope["type"] != "http":
            return
        request_id = scope["sluice.request_id"] = new_request_id()
        added = [(b"x-request-id", f"req_{request_id}".encode()), (b"cache-control", b"no-store")]

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *added]
            await send(message)

        event, headers = scope.get("aws.event", {}), Headers(scope=scope)
        try:
            self._gate.check_origin(event, headers)
            if scope["path"] != DOCUMENT:  # it has no secrets, and who reads it may have none either
                await self._gate.check_admin(event, headers)
        except APIError as error:
            await error_response(error)(scope, receive, send_with_id)
            return
        await self._api(scope, receive, send_with_id)
