"""The Lambda handler: runs the application through Mangum, with buffered responses.

There are two kinds of events. Those of the function URL (payload format 2.0) always have a
`requestContext`. Those of `lambda:InvokeFunction` are written by their caller:

    {"method": "GET", "path": "/admin/v1/keys", "query": "limit=10", "body": {...}}

IAM has authorised that caller, so no secret is needed. A request by URL cannot look like such an
event, because Lambda makes the event of a request.
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

# One loop for the life of the environment: the pooled connections belong to it, and Mangum uses it.
_LOOP = asyncio.new_event_loop()
asyncio.set_event_loop(_LOOP)
_APP = Mangum(
    create_app(
        ControlSettings.from_environment(os.environ),
        Client(),
        lambda: Credentials.from_environment(os.environ),
    ),
    lifespan="off",
)


def handler(event: Mapping[str, Any], context: Any) -> dict[str, Any]:
    """Serve one event."""
    if "requestContext" in event:
        return _APP({name: value for name, value in event.items() if name != INVOKED}, context)
    return _APP(as_url_event(event), context)
