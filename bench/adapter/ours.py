"""The stream function's application for any ASGI server: `uvicorn bench.adapter.ours:app`.

Its settings are read from the environment, as on Lambda.
"""

import os

from starlette.types import ASGIApp, Receive, Scope, Send

from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.settings import Settings
from lambda_fn.stream.app import create_app


class App:
    """The application, created at the first call, within the server's event loop."""

    def __init__(self) -> None:
        """Begin without an application."""
        self._app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if self._app is None:
            settings = Settings.from_environment(os.environ)
            self._app = create_app(
                settings, Client(), lambda: Credentials.from_environment(os.environ)
            )
        await self._app(scope, receive, send)


app = App()
