"""`GET /v1/models`, `/v1/models/{name}` and `/v1/openapi.json`."""

import time

from starlette.requests import Request
from starlette.responses import Response

from lambda_fn.auth import read_key
from lambda_fn.http.responses import json_response
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.money import to_text
from lambda_fn.settings import Settings
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.rate_limit_errors import model_unreadable, no_model

# Where the deployment's age is not known, a model is as old as the process that serves its list.
_STARTED = int(time.time())
_PRICES = ("prompt_price", "completion_price", "cached_price", "image_price", "reasoning_price")


class Models:
    """The models of a deployment, and the document of its API."""

    def __init__(self, settings: Settings, gate: Gate) -> None:
        """Take the models from the settings."""
        self._models = settings.models
        self._aliases = settings.aliases
        self._created = _STARTED if settings.deployed is None else settings.deployed
        self._unreadable = settings.unreadable
        self._gate = gate
        self._keeps = settings.stream_table is not None and settings.persistence != "off"
        self._kept: dict[str, object] = {}
        if self._keeps:
            self._kept = {
                "persistence": settings.persistence,
                "response_days": settings.response_days,
                "log_hours": settings.log_hours,
            }
        self._document = b""

    async def list(self, request: Request) -> Response:
        """Return all models that the key may use.

        `sluice` says which responses the deployment keeps, and for how long. If the settings of
        some models cannot be read, `sluice.not_served` has their names and the reasons.
        """
        account = await self._account(request)
        names = {**{name: name for name in self._models}, **self._aliases}
        data = [self._object(shown) for shown, name in names.items() if account.may_use(name)]
        about: dict[str, object] = {"persistence": "off", **self._kept}
        broken = [
            {"id": name, "reason": reason}
            for name, reason in self._unreadable.items()
            if account.may_use(name)
        ]
        if broken:
            about["not_served"] = broken
        return json_response({"object": "list", "data": data, "sluice": about})

    async def get(self, request: Request) -> Response:
        """Return one model.

        Raises:
            NotFound: there is no such model, or the key may not use it.
            Unavailable: its settings cannot be read.

        """
        shown = request.path_params["name"]
        name = self._aliases.get(shown, shown)
        allowed = (await self._account(request)).may_use(name)
        if allowed and (reason := self._unreadable.get(name)) is not None:
            raise model_unreadable(name, reason)
        if not allowed or name not in self._models:
            raise no_model(shown)
        return json_response(self._object(shown))

    async def document(self, request: Request) -> Response:
        """Return the OpenAPI document. It is the same for all callers, so it is made once."""
        if not self._document:
            from lambda_fn.stream.endpoints.openapi import document  # few callers ask for it

            self._document = document([*self._models, *self._aliases], keeps=self._keeps)
        return Response(self._document, media_type="application/json")

    async def _account(self, request: Request) -> Account:
        return await self._gate.check_key(read_key(request.headers, request.scope.get("client")))

    def _object(self, name: str) -> dict[str, object]:
        model: dict[str, object] = {
            "id": name,
            "object": "model",
            "created": self._created,
            "owned_by": "sluice",
        }
        if name in self._aliases:
            model["root"] = self._aliases[name]  # as vLLM names the model behind another name
        served = self._models[self._aliases.get(name, name)]
        if served.priced:
            # USD a million tokens, as people read prices.
            prices = zip(_PRICES, served.prices_at(time.time()), strict=True)
            model["sluice"] = {
                name: to_text(price * 10**6) for name, price in prices if price is not None
            }
        return model
