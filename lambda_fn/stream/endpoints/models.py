"""`GET /v1/models`, `/v1/models/{name}` and `/v1/openapi.json`."""

import time

from starlette.requests import Request
from starlette.responses import Response

from lambda_fn.auth import read_key
from lambda_fn.http.responses import json_response
from lambda_fn.settings import Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.rate_limit_errors import no_model

# As with other servers, a model is as old as the process that serves its list.
_STARTED = int(time.time())


class Models:
    """The models of a deployment, and the document of its API."""

    def __init__(self, settings: Settings, gate: Gate) -> None:
        """Take the models from the settings."""
        self._models = settings.models
        self._gate = gate
        self._document = b""

    async def list(self, request: Request) -> Response:
        """Return all models that the key may use."""
        names = await self._allowed(request)
        return json_response({"object": "list", "data": [self._object(name) for name in names]})

    async def get(self, request: Request) -> Response:
        """Return one model. Raises NotFound for one that the key may not use."""
        name = request.path_params["name"]
        if name not in await self._allowed(request):
            raise no_model(name)
        return json_response(self._object(name))

    async def document(self, request: Request) -> Response:
        """Return the OpenAPI document. It is the same for all callers, so it is made once."""
        if not self._document:
            from lambda_fn.stream.endpoints.openapi import document  # few callers ask for it

            self._document = document(self._models)
        return Response(self._document, media_type="application/json")

    async def _allowed(self, request: Request) -> tuple[str, ...]:
        account = await self._gate.check_key(read_key(request.headers, request.scope.get("client")))
        return tuple(
            name for name in self._models if account.models is None or name in account.models
        )

    @staticmethod
    def _object(name: str) -> dict[str, object]:
        return {"id": name, "object": "model", "created": _STARTED, "owned_by": "sluice"}
