"""The calls of a socket. They use the stages of HTTP, with other carriers."""

import time
from collections.abc import Callable, Mapping
from functools import partial

from lambda_fn.auth import Caller, check_origin, read_key
from lambda_fn.aws.dynamodb import Table
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import APIError, InvalidRequest, NotFound, RateLimited
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.recall.cancelling import Cancelling
from lambda_fn.recall.stored import Stored
from lambda_fn.schema import Rules
from lambda_fn.settings import Settings
from lambda_fn.socket.lane import LaneCarrier, LaneSink
from lambda_fn.socket.messages import Resume
from lambda_fn.socket.turn import ReadOptions, Turn
from lambda_fn.socket.warm_up import no_conversation, whole
from lambda_fn.stream.admit import Gate
from lambda_fn.stream.completions import Completions
from lambda_fn.stream.history import history_of
from lambda_fn.stream.negotiate import Continued
from lambda_fn.stream.pipeline import share
from lambda_fn.stream.rate_limit_errors import no_model
from lambda_fn.stream.rejections import Rejections
from lambda_fn.stream.request_count import count_request
from lambda_fn.stream.resume import resume
from lambda_fn.stream.sinks import interrupted

MAX_SOCKETS = 20
"""Sockets that a key may have open at once in this process."""


class Service:
    """The objects that all sockets share."""

    def __init__(
        self, settings: Settings, client: Client, credentials: Callable[[], Credentials]
    ) -> None:
        """Take what the application of HTTP takes."""
        table = partial(
            Table,
            client,
            url=settings.dynamodb_url,
            region=settings.region,
            credentials=credentials,
        )
        self.settings = settings
        self._table = table(name=settings.usage_table)
        self._gate = Gate(self._table, meter_open=settings.meter_open)
        self._shared = share(settings, client, credentials, self._table, self._gate)
        self._open: dict[str, int] = {}
        self._rejections = None
        if settings.deployment is not None:
            self._rejections = Rejections(settings.deployment)
        self._streams: Table | None = None
        if settings.stream_table is not None and settings.persistence != "off":
            self._streams = table(name=settings.stream_table)
        self.options = ReadOptions(
            Rules(strict=settings.strict, loose_tool_history=settings.loose_tool_history),
            keeps=self._streams is not None,
            store_default=settings.store_default,
        )

    async def connect(self, headers: Mapping[str, str], client: tuple[str, int] | None) -> Caller:
        """Return the caller of a new socket, which counts as open until `disconnect`.

        Raises:
            AuthenticationFailed, PermissionDenied: the key may not be used.
            RateLimited: the key has too many sockets.
            Unavailable: DynamoDB does not answer.

        """
        check_origin(headers, self.settings.origin_secrets)
        caller = read_key(headers, client)
        await self._gate.check_key(caller)
        count = self._open.get(caller.key_id, 0)
        if count >= MAX_SOCKETS:
            raise RateLimited(
                f"This key has {MAX_SOCKETS} open sockets. Close one, or use more lanes of one: a "
                "socket runs 16 responses at once.",
                code="websocket_limit_reached",
                retry_after=10,
            )
        self._open[caller.key_id] = count + 1
        return caller

    def disconnect(self, caller: Caller) -> None:
        """Note that a socket has ended."""
        left = self._open[caller.key_id] - 1
        if left:
            self._open[caller.key_id] = left
        else:
            del self._open[caller.key_id]

    def count(self, error: APIError) -> None:
        """Count a request that was rejected before it was admitted, if metrics are on."""
        if self._rejections is not None:
            self._rejections.add(error.status, error.code)

    async def answer(self, carrier: LaneCarrier, turn: Turn) -> None:
        """Generate a response. Raises as `Completions.answer`."""
        await Completions(self._shared, turn.read).answer(carrier)

    async def warm_up(self, carrier: LaneCarrier, turn: Turn) -> None:
        """Check a request and remember its conversation, without a call of the model.

        It counts in the key's requests per minute, and not in its tokens. The response has no
        output, and is kept on this connection only.

        Raises:
            APIError: the request cannot be answered.

        """
        account = await self._gate.check_key(carrier.caller)
        body = await carrier.body(self.settings.max_body)
        found = turn.read(body, carrier.headers)
        if isinstance(found, Continued):
            if found.conversation is not None:
                raise no_conversation()
            history = await history_of(
                self._streams, carrier.caller.key_id, found, secrets=self.settings.origin_secrets
            )
            found = found.read(history)
        name = self.settings.name_of(found.request.model)
        if name not in self.settings.models or not account.may_use(name):
            raise no_model(name)
        now = time.time()
        await count_request(self._table, account, now)
        read = found if found.kept_items is None else found.unkept
        head = read.named(name).head(
            response_id=carrier.request_id,
            created=int(now),
            fingerprint=None,
            max_bytes=self.settings.max_whole,
        )
        await carrier.sink.start(200, [])
        await carrier.sink.end(whole(head, int(now)))

    async def resume(self, request: Resume, sink: LaneSink, caller: Caller) -> None:
        """Send the events of a kept response that come after an event.

        Raises:
            NotFound: the key has no such response.
            APIError: as `resume`.

        """
        account = await self._gate.check_key(caller)
        await count_request(self._table, account, time.time())
        stored = self._stored(request.response_id)
        head = await stored.find(request.response_id, caller.key_id)
        if head.head.form != "responses_stream":
            raise InvalidRequest(
                "This response was not streamed as events of the Responses API, so a socket cannot "
                "send it. Read it by GET /v1/sluice/streams/{id}.",
                param="response_id",
                code="not_streamable",
            )
        after = request.starting_after
        await resume(
            *(stored.table, head, after, sink),
            seconds=None,
            settings=self.settings,
            request_id=new_request_id(),
        )
        # A client that has everything of a response that has ended gets nothing more.
        if not sink.is_over and (sink.has_sent or not head.is_final):
            raise interrupted()

    async def cancel(self, response_id: str, caller: Caller) -> None:
        """Cancel a response that is kept. Raises as `Cancelling.cancel`."""
        shared, stored = self._shared, self._stored(response_id)
        cancelling = Cancelling(
            shared.settings, shared.client, shared.credentials, self._table, stored
        )
        await cancelling.cancel(response_id, caller.key_id, {})

    def _stored(self, response_id: str) -> Stored:
        if self._streams is None:
            raise NotFound(
                f"There is no response '{response_id[:80]}': this deployment keeps no responses "
                "(its setting 'persistence' is off).",
                param="response_id",
                code="response_not_found",
            )
        return Stored(self._streams)
