"""Fixtures for the function's tests. tests/support/ has what they are made of."""

import json
import os
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import boto3
import httpx
import pytest
from aiohttp import web
from fastapi import FastAPI
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from lambda_fn import limits
from lambda_fn.aws.dynamodb import Table
from lambda_fn.control.app import create_api
from lambda_fn.control.services import Services
from lambda_fn.http.client import Client
from lambda_fn.ids import new_key
from lambda_fn.metering import accounts
from lambda_fn.metering.keys import account_key
from lambda_fn.recall import app as recall_app
from local.moto import attribute_values
from local.moto import items as item_patches
from local.moto.handler import Handler
from local.moto.items.calls import ItemCalls
from tests.support.admin import HOUR, NOW, Admin, Make, request, signed_in
from tests.support.function import (
    BOTO,
    CREDENTIALS,
    KEY,
    KEY_ID,
    TABLE,
    WHOLE,
    Call,
    StandIn,
    caller,
    part,
)
from tests.support.ground import LIMITS, Ground, T
from tests.support.kept import Kept
from tests.support.network import SERVER_VARIABLE
from tests.support.stream_tables import stream_table


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """Run moto's DynamoDB, and yield its URL, or that of the DynamoDB that replaces it."""
    if url := os.environ.get(SERVER_VARIABLE):
        yield url
        return
    attribute_values.install()
    item_patches.install()
    moto = ItemCalls(DomainDispatcherApplication(create_backend_app))
    one_at_a_time = threading.Lock()  # moto has no locks, without which a condition would not hold

    def application(environ: Any, start_response: Any) -> Any:
        with one_at_a_time:
            return list(moto(environ, start_response))

    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def moto_url(moto_server: str) -> Iterator[str]:
    """Create the usage table for each file, and return moto's URL.

    Tests of other folders empty all of moto.
    """
    client = boto3.client("dynamodb", endpoint_url=moto_server, **BOTO)
    keys = {"pk": "HASH", "sk": "RANGE"}
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": name, "KeyType": kind} for name, kind in keys.items()],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in keys],
    )
    yield moto_server
    client.delete_table(TableName=TABLE)
    client.close()


@pytest.fixture(scope="session")
def boto(moto_server: str) -> Iterator[Any]:
    """Yield stock boto3's DynamoDB. One for all tests, because each costs milliseconds."""
    resource = boto3.resource("dynamodb", endpoint_url=moto_server, **BOTO)
    yield resource
    resource.meta.client.close()


@pytest.fixture
def items(moto_url: str, boto: Any) -> Any:
    """Return the table as stock boto3 sees it."""
    del moto_url  # which has made the table
    return boto.Table(TABLE)


@pytest.fixture
def usage_table(boto: Any, _patient: None) -> Iterator[Any]:
    """Yield an empty usage table with both of its indexes, as stock boto3 sees it."""

    def schema(partition: str, sort: str) -> Any:
        return [
            {"AttributeName": partition, "KeyType": "HASH"},
            {"AttributeName": sort, "KeyType": "RANGE"},
        ]

    indexes = {"overdue": ("open", "due"), "keys": ("directory", "created")}
    types = {"pk": "S", "sk": "S", "open": "S", "due": "N", "directory": "S", "created": "N"}
    table = boto.create_table(
        TableName=f"usage-{uuid.uuid4().hex}",
        BillingMode="PAY_PER_REQUEST",
        KeySchema=schema("pk", "sk"),
        AttributeDefinitions=[
            {"AttributeName": name, "AttributeType": kind} for name, kind in types.items()
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": name,
                "KeySchema": schema(*keys),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            for name, keys in indexes.items()
        ],
    )
    yield table
    table.delete()


@pytest.fixture
def streams(boto: Any) -> Iterator[Any]:
    """Yield an empty StreamTable, as stock boto3 sees it."""
    table = boto.create_table(**stream_table(f"streams-{uuid.uuid4().hex}"))
    yield table
    table.delete()


@pytest.fixture
async def http() -> AsyncIterator[Client]:
    """Yield a client whose idle connections are closed after the test."""
    client = Client()
    yield client
    client.close()


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for moto and the stand-in without the function's time limits.

    The machine may be busy. Then a write that was carried out, or a cancel that was confirmed,
    would be repeated, a connection would be too old, and a response would go on without its log.
    """
    for name in (
        "META_TIMEOUT",
        "CANCEL_FIRST_INTERVAL",
        "CANCEL_INTERVAL",
        "CANCEL_TIMEOUT",
        "IDLE_CONNECTION",
        "LOG_OPEN_TIMEOUT",
        "LOG_END_TIMEOUT",
    ):
        monkeypatch.setattr(limits, name, 60.0)


@pytest.fixture
def table(moto_url: str, http: Client, _patient: None) -> Table:
    """Return the table as the function sees it."""
    return Table(
        http, url=moto_url, region="eu-west-1", name=TABLE, credentials=lambda: CREDENTIALS
    )


@pytest.fixture
def account(items: Any) -> dict[str, str]:
    """Create a new account for `KEY`, and return the key."""
    items.put_item(Item=accounts.new_account(KEY, name="test", now=1))
    return account_key(KEY_ID)


@pytest.fixture
async def sagemaker() -> AsyncIterator[StandIn]:
    """Run a stand-in endpoint that answers a whole short completion."""
    stand_in = StandIn(script=[part(WHOLE)])
    application = web.Application(client_max_size=limits.MAX_INVOCATION)
    application.router.add_post("/endpoints/{name}/invocations-response-stream", stand_in.handle)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    stand_in.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield stand_in
    await runner.cleanup()


@pytest.fixture
def call(make_call: Callable[..., Call]) -> Call:
    """Return a function that calls the application as its server would.

    A test may pass a `reply` to watch the response grow.
    """
    return make_call()


@pytest.fixture
def make_call(
    moto_url: str, sagemaker: StandIn, http: Client, _patient: None
) -> Callable[..., Call]:
    """Return a function that makes applications with other settings."""
    return lambda **changes: caller(moto_url, sagemaker, http, changes)


@pytest.fixture(scope="session")
def api() -> FastAPI:
    """Return the endpoints without a table. They are slow to make, so tests share them."""
    return create_api(Services(cast("Table", None), ()))


@pytest.fixture
async def admin(
    moto_url: str, http: Client, api: FastAPI, usage_table: Any
) -> AsyncIterator[Admin]:
    """Yield a client of the admin API without authentication."""
    table = Table(
        http,
        url=moto_url,
        region="eu-west-1",
        name=usage_table.name,
        credentials=lambda: CREDENTIALS,
    )
    services = Services(table, ("demo", "other"), now=lambda: NOW)
    api.state.services = services
    transport = httpx.ASGITransport(signed_in(api), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        yield Admin(client, services, json.loads(json.dumps(api.openapi())), usage_table)


@pytest.fixture
def make(admin: Admin) -> Make:
    """Return a function that creates a key."""

    async def run(name: str = "app", **fields: Any) -> dict[str, Any]:
        return await admin.ok("POST", "/keys", {"name": name, **fields})

    return run


@pytest.fixture
async def used(admin: Admin, make: Make) -> dict[str, Any]:
    """Create two keys. One was used on two days and with two models."""
    admin.services.now = lambda: NOW - 9 * HOUR
    first, second = await make("first"), await make("second")
    for at, model, tokens in (
        (-8, "demo", 10),
        (-8, "other", 20),
        (-5, "demo", 30),
        (0, "demo", 40),
    ):
        await request(admin, first, at=NOW + at * HOUR, model=model, tokens=tokens)
    last = await request(admin, second, at=NOW, tokens=50)
    admin.services.now = lambda: NOW
    secrets = {"first_secret": first["secret"], "second_secret": second["secret"]}
    return {"first": first["id"], "second": second["id"], "last": last, **secrets}


@pytest.fixture
async def ground(moto_url: str, http: Client, usage_table: Any) -> Ground:
    """Create a key in a usage table."""
    ground = Ground(moto_url, http, usage_table.name, usage_table, new_key())
    await ground.table.put(accounts.new_account(ground.key, name="test", now=T - 60, limits=LIMITS))
    return ground


@pytest.fixture
def make_recall(
    moto_url: str, sagemaker: StandIn, http: Client, streams: Any, _patient: None
) -> Callable[..., Call]:
    """Return a function that makes applications with other settings."""

    def make(**changes: Any) -> Call:
        settings = {"stream_table": streams.name, **changes}
        return caller(moto_url, sagemaker, http, settings, recall_app.create_app)

    return make


@pytest.fixture
def recall(make_recall: Callable[..., Call], account: dict[str, str]) -> Call:
    """Return a function that calls the application with a key that exists."""
    return make_recall()


@pytest.fixture
def kept(moto_url: str, http: Client, streams: Any, _patient: None) -> Kept:
    """Return what writes responses into the application's table."""
    return Kept(
        Table(
            http,
            url=moto_url,
            region="eu-west-1",
            name=streams.name,
            credentials=lambda: CREDENTIALS,
        )
    )
