"""The admin API over moto's DynamoDB with the real client. Each test has its own table."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
from openapi_schema_validator import OAS31Validator
from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn import ids
from lambda_fn.auth import Caller
from lambda_fn.control.app import PREFIX, Middleware
from lambda_fn.control.auth import Gate
from lambda_fn.control.rights import Right
from lambda_fn.control.services import IDENTITY, Services
from lambda_fn.control.trail import Identity
from lambda_fn.metering import holds, ledger, settlements
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices

NOW = 1_795_243_530  # 2026-11-21 06:45:30
PRICES = Prices(3, 5)
HOUR = 3600
_numbers = itertools.count()


@dataclass
class Admin:
    """A client that checks responses against the OpenAPI document, and its table."""

    client: httpx.AsyncClient
    services: Services
    document: dict[str, Any]
    boto: Any

    async def __call__(
        self, method: str, path: str, body: Any = None, **query: Any
    ) -> httpx.Response:
        """Make a request."""
        given: dict[str, Any] = {} if body is None else {"json": body}
        answer = await self.client.request(method, f"{PREFIX}{path}", params=query, **given)
        self._check(method, path, answer)
        return answer

    async def ok(self, method: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """Make a request that must succeed. Return the response's JSON."""
        answer = await self(method, path, body, **query)
        assert answer.status_code in {200, 201}, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def refused(
        self, status: int, method: str, path: str, body: Any = None, **query: Any
    ) -> dict[str, Any]:
        """Make a request that must be rejected. Return its error."""
        answer = await self(method, path, body, **query)
        assert answer.status_code == status, answer.text
        error: dict[str, Any] = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        return error

    def _check(self, method: str, path: str, answer: httpx.Response) -> None:
        """Check that the status is documented, and that the body matches its schema."""
        for template, operations in self.document["paths"].items():
            parts, asked = template.split("/"), f"{PREFIX}{path}".split("/")
            same = [
                one == other or one.startswith("{")
                for one, other in zip(parts, asked, strict=False)
            ]
            if len(parts) == len(asked) and all(same) and method.lower() in operations:
                break
        else:
            assert answer.status_code in {404, 405}
            return
        response = operations[method.lower()]["responses"][str(answer.status_code)]
        kind = answer.headers["content-type"].partition(";")[0]
        schema = response["content"][kind]["schema"]
        if kind == "application/json":
            everything = {**schema, "components": self.document["components"]}
            OAS31Validator(everything).validate(answer.json())


def signed_in(api: ASGIApp) -> ASGIApp:
    """Return the endpoints without authentication: every request is of the same admin."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = ids.new_request_id(NOW + next(_numbers) / 1000)
        await api(
            {**scope, IDENTITY: Identity(request_id, "secret:v1", "192.0.2.1", "i-1")},
            receive,
            send,
        )

    return run


Make = Callable[..., Any]


async def request(
    admin: Admin, key: dict[str, Any], *, at: float, model: str = "demo", tokens: int = 11
) -> str:
    """Carry one request of a key through the meter, as the stream function does. Return its id."""
    table, request_id = admin.services.table, ids.new_request_id(at)
    opening = Opening(request_id, key["id"], model, 100, 400, PRICES)
    reservation = holds.HoldRequest(request_id, 100, 400, model)
    update = holds.place(key["id"], ids.hash_key(key["secret"]), reservation, now=int(at))
    entry = Account.of(await table.update(update, return_item=True)).in_flight[request_id]
    await table.put(ledger.opening_item(opening), condition=ledger.NEW)
    done = Settlement("complete", 7, tokens, "stop", 12, 400)
    await settlements.settle(table, opening, done, hold=entry, now=at + 8)
    return request_id


def caller(secret: str) -> Caller:
    """Return the caller who presents a key."""
    key_id = ids.key_id_of(secret)
    assert key_id is not None
    return Caller(key_id=key_id, key_hash=ids.hash_key(secret))


async def reserve(
    admin: Admin, secret: str, request_id: str, *, tokens: int = 100, cost: int = 5
) -> Any:
    """Place a hold for a request, as the stream function does."""
    who = caller(secret)
    reservation = holds.HoldRequest(request_id, tokens, cost, "demo")
    update = holds.place(who.key_id, who.key_hash, reservation, now=int(NOW))
    item = await admin.services.table.update(update, return_item=True)
    return Account.of(item).in_flight[request_id]


async def entries(admin: Admin, **query: Any) -> list[dict[str, Any]]:
    """Return the entries of the audit trail, newest first."""
    found: list[dict[str, Any]] = (await admin.ok("GET", "/audit", **query))["data"]
    return found


def stored(admin: Admin) -> list[dict[str, Any]]:
    """Return the items of the audit trail."""
    return [item for item in admin.boto.scan()["Items"] if item["pk"].startswith("AUDIT#")]


def through(
    api: ASGIApp, admin: Admin, event: dict[str, Any], right: Right | None = None
) -> httpx.AsyncClient:
    """Return a client of the whole application, whose requests arrive by such an event."""
    middleware = Middleware(api, Gate(None, ("origin",), right), admin.services.trail)

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        await middleware({**scope, "aws.event": event}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(run), base_url=f"http://admin{PREFIX}")
