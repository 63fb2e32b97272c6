"""The Lambda handler: events in, the application through Mangum, one buffered answer out.

Two kinds of events come. The function URL's (payload format 2.0) always have a `requestContext`. One of
`lambda:InvokeFunction` is what its caller writes:

    {"method": "GET", "path": "/admin/v1/keys", "query": "limit=10", "body": {...}}

IAM let that caller in, so that it needs no secret. Whatever comes by URL cannot look like it, because Lambda makes
those events.
"""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from mangum import Mangum

from lambda_fn.aws.signing import Credentials
from lambda_fn.control.app import create_app
from lambda_fn.control.auth import INVOKED
from lambda_fn.control.invocation import as_url_event
from lambda_fn.control.settings import ControlSettings
from lambda_fn.http.client import Client

# One loop for the life of the environment: pooled connections belong to it, and Mangum runs the application in it.
_LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(_LOOP)
_APP = Mangum(
    create_app(
        ControlSettings.from_environment(os.environ), Client(), lambda: Credentials.from_environment(os.environ)
    ),
    lifespan="off",
)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Answer one event."""
    if "requestContext" in event:
        return _APP({name: value for name, value in event.items() if name != INVOKED}, context)
    return _APP(as_url_event(event), context)
