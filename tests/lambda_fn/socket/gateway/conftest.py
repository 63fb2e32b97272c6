"""StreamTable behind a network on which a test decides what fails, and whole sockets."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from infra.constructs.websocket_api import TEMPLATE
from lambda_fn.http.client import Client
from lambda_fn.settings import Model, Settings
from tests.support.function import (
    ORIGIN,
    TABLE,
    StandIn,
)
from tests.support.gateway_sockets import Sockets
from tests.support.stream_logs import Ground, stream_ground
from tests.support.websocket_apis import EVENT, api, started


@pytest.fixture
def ground() -> Iterator[Ground]:
    """Yield an empty StreamTable with a clock."""
    with stream_ground() as made:
        yield made


@pytest.fixture
async def sockets(
    moto_url: str, streams: Any, sagemaker: StandIn, account: Any, _patient: None
) -> AsyncIterator[Sockets]:
    """Yield sockets whose model is the stand-in."""
    content = api()
    content["properties"]["RouteSelectionExpression"] = "$request.body.type"
    event = dict(EVENT)
    event["RequestTemplates"] = {"$default": TEMPLATE}
    content["integrations"]["two"] = event
    del content["routes"]["sync"]
    http = Client()
    async with started(content) as plane:
        settings = Settings(
            region="eu-west-1",
            usage_table=TABLE,
            models={
                "m": Model(endpoint="endpoint-1", context_tokens=100),
                "big": Model(endpoint="endpoint-2", context_tokens=100),
            },
            fallbacks={"m": "big"},
            origin_secrets=(ORIGIN,),
            dynamodb_url=moto_url,
            sagemaker_url=sagemaker.url,
            stream_table=streams.name,
            websocket_url=plane.url.replace("http", "ws"),
            socket_function="sockets:live",
        )
        found = Sockets(plane, settings, http)
        yield found
        await found.stop()
    http.close()
