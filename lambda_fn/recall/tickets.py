"""`POST /v1/websocket/tickets`: a ticket for a client that cannot send its key with a handshake."""

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Send

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.errors import NotFound, Unavailable
from lambda_fn.http.responses import json_response
from lambda_fn.settings import Settings
from lambda_fn.stream_log.tickets import make_ticket

PATH = "/v1/websocket/tickets"


class Tickets:
    """The endpoint."""

    def __init__(self, settings: Settings, table: Table) -> None:
        """Take the settings and StreamTable."""
        self._url = settings.websocket_url
        self._table = table

    async def create(self, request: Request, caller: Caller, send: Send) -> Response:
        """Return a new ticket, and the address that takes it.

        Raises:
            NotFound: the deployment has no sockets.
            Unavailable: DynamoDB does not answer.

        """
        if not self._url:
            raise NotFound(
                "This deployment has no sockets, because its setting 'websocket' is off. Stream by "
                "POST /v1/responses.",
                code="websocket_off",
            )
        try:
            ticket, expires = await make_ticket(self._table, caller, now=time.time())
        except MeterUnavailable:
            raise Unavailable(
                "The table of tickets does not answer. Try again.", retry_after=5
            ) from None
        return json_response(
            {
                "object": "websocket.ticket",
                "ticket": ticket,
                "expires_at": expires,
                "url": self._url,
            }
        )
