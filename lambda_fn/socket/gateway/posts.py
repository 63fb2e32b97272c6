"""Posts messages to a socket: the calls of `@connections`, and the queue of one response.

One post is under way for each response, so its events come in their order. Deltas begin at least
`limits.POST_INTERVAL` apart, the first one at once. What comes meanwhile is gathered.
"""

import asyncio
import time
from collections.abc import Callable
from urllib.parse import quote

from lambda_fn import limits
from lambda_fn.aws.signing import Credentials, sign
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError
from lambda_fn.log import log
from lambda_fn.socket.gateway.gather import is_delta, joined, shortened

_MAX_ANSWER = 10_000
_TRIES = 8
"""Attempts of a call, some 7 s in all if the service refuses each at once."""


class ClientGone(Exception):
    """The socket is closed, or takes nothing any more."""


class Posts:
    """Calls `@connections` of the deployment's WebSocket API."""

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        region: str,
        credentials: Callable[[], Credentials],
    ) -> None:
        """Take `url`, the address of the stage, such as `https://a.execute-api.….com/responses`."""
        scheme, _, rest = url.partition("://")
        host, _, stage = rest.partition("/")
        self._client = client
        self._origin, self._host, self._stage = f"{scheme}://{host}", host, stage
        self._region = region
        self._credentials = credentials

    async def post(self, connection_id: str, data: bytes) -> None:
        """Send a message to a client.

        A call that is throttled, or is not answered, is made again. So a message may come twice,
        with the same `sequence_number`. If all calls fail, the socket is closed: its client would
        miss the message, and may wait for it forever.

        Raises:
            ClientGone: the socket is closed, or cannot be reached.

        """
        status = await self._repeated("POST", connection_id, data)
        if status == 200:
            return
        if status is None:
            log("fault", error=f"@connections failed {_TRIES} times, so the socket is closed")
            await self.close(connection_id)
        elif status != 410:
            log("fault", error=f"@connections answered {status}")
        raise ClientGone

    async def is_open(self, connection_id: str) -> bool:
        """Return whether a connection exists. Without an answer it is taken to be there."""
        try:
            return await self._call("GET", connection_id) != 410
        except TransportError:
            return True

    async def close(self, connection_id: str) -> bool:
        """Close a socket. Return False if it may still be open: no call was carried out."""
        status = await self._repeated("DELETE", connection_id)
        closed = status is not None and (status < 300 or status == 410)
        if not closed:
            why = f"failed {_TRIES} times" if status is None else f"answered {status}"
            log("fault", error=f"@connections {why}, so a socket was not closed")
        return closed

    async def _repeated(self, method: str, connection_id: str, body: bytes = b"") -> int | None:
        """Make a call until it is answered, and not throttled. Return its status, or None."""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(min(limits.META_BACKOFF * 2**attempt, limits.META_BACKOFF_MAX))
            try:
                status = await self._call(method, connection_id, body)
            except TransportError as error:
                log("upstream", error=f"@connections: {error}")
                continue
            if status < 500 and status != 429:
                return status
        return None

    async def _call(self, method: str, connection_id: str, body: bytes = b"") -> int:
        key = quote(connection_id, safe="")
        headers = sign(
            credentials=self._credentials(),
            region=self._region,
            service="execute-api",
            method=method,
            host=self._host,
            # The path is escaped twice in what is signed, as for every service but S3.
            path=quote(f"/{self._stage}/@connections/{key}", safe="/-_.~"),
            headers={"content-type": "application/json"},
            body=body,
        )
        path = f"/{self._stage}/@connections/{key}"
        response = await self._client.request(
            method, self._origin, path, headers, body, seconds=limits.META_TIMEOUT
        )
        try:
            await response.read_all(_MAX_ANSWER)
        finally:
            response.close()
        return response.status


class Outbox:
    """The events of one response on their way to its client."""

    def __init__(self, posts: Posts, connection_id: str) -> None:
        """Begin with an empty queue."""
        self._posts = posts
        self._connection_id = connection_id
        self._waiting: list[bytes] = []
        self._size = 0
        self._task: asyncio.Task[None] | None = None
        self._room = asyncio.Event()
        self._delta_at = -limits.POST_INTERVAL
        self.gone = False

    async def put(self, events: list[bytes]) -> None:
        """Queue events, and wait while too much waits.

        Raises:
            ClientGone: the client has left.

        """
        if self.gone:
            raise ClientGone
        self._waiting += events
        self._size += sum(map(len, events))
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())
        while self._size > limits.POST_WAITING and not self.gone:
            self._room.clear()
            await self._room.wait()
        if self.gone:
            raise ClientGone

    async def drain(self) -> None:
        """Wait until everything is posted. Raises ClientGone."""
        if self._task is not None:
            await self._task
        if self.gone:
            raise ClientGone

    async def finish(self) -> None:
        """Wait until everything is posted, or the client is gone."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        try:
            while self._waiting:
                if is_delta(self._waiting[0]):
                    # Deltas that come within this time are joined with the first one.
                    wait = self._delta_at + limits.POST_INTERVAL - time.monotonic()
                    if wait > 0:
                        await asyncio.sleep(wait)
                    self._delta_at = time.monotonic()
                batch, self._waiting, self._size = joined(self._waiting), [], 0
                self._room.set()
                for number, event in enumerate(batch):
                    if number and is_delta(event):
                        # What follows may have grown meanwhile.
                        self._waiting = [*batch[number:], *self._waiting]
                        self._size = sum(map(len, self._waiting))
                        break
                    await self._posts.post(self._connection_id, shortened(event))
        except ClientGone:
            self.gone = True
            self._waiting.clear()
        finally:
            self._room.set()
