"""The stream function's application for any ASGI server: `uvicorn bench.adapter.ours:app`.

`bench.adapter.ours:sockets` has sockets beside it. Their settings are read from the environment, as
on Lambda.
"""

import os
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.settings import Settings
from lambda_fn.socket import asgi
from lambda_fn.stream.app import create_app

Create = Callable[[Settings, Client, Callable[[], Credentials]], ASGIApp]


class App:
    """The application, created at the first call, within the server's event loop."""

    def __init__(self, create: Create) -> None:
        """Begin without an application."""
        self._create = create
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if self._app is None:
            settings = Settings.from_environment(os.environ)
            self._app = self._create(
                settings, Client(), lambda: Credentials.from_environment(os.environ)
            )
        await self._app(scope, receive, send)


app = App(create_app)
sockets = App(asgi.create_app)
