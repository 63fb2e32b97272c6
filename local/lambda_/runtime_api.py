"""Lambda's Runtime API for one execution environment, on its own loopback port.

Stock runtimes cannot send a secret, because AWS_LAMBDA_RUNTIME_API is only host and port. So the
Runtime API asks the kernel which user's process has connected, and refuses requests of web pages.

GET  /2018-06-01/runtime/invocation/next
POST /2018-06-01/runtime/invocation/{id}/response      whole, or streamed with trailers
POST /2018-06-01/runtime/invocation/{id}/error
POST /2018-06-01/runtime/init/error
"""

import asyncio
from collections import deque
from collections.abc import Callable

from local.lambda_.response import FunctionError, Invocation
from local.lambda_.runtime_connection import Connection


class RuntimeApi:
    """The listener of the Runtime API.

    It calls `on_next` when the runtime asks for work, and `on_init_error` with the reason when the
    runtime cannot start.
    """

    def __init__(
        self,
        on_next: Callable[[], None],
        on_init_error: Callable[[str], None],
        concurrency: int = 1,
    ) -> None:
        """Nothing listens yet. `concurrency` is how many invocations run at once."""
        self._concurrency = concurrency
        self._on_next = on_next
        self.on_init_error = on_init_error
        self._waiting: deque[Connection] = deque()
        self.active: dict[str, Invocation] = {}
        self._server: asyncio.Server | None = None
        self.port = 0
        self._connections: set[Connection] = set()

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), "127.0.0.1", 0
        )
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    def stop(self) -> None:
        """Close the listener and all connections."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()

    def offer(self, invocation: Invocation) -> None:
        """Send an invocation to the runtime, which must be waiting for one."""
        if not self._waiting:
            invocation.response.fail(
                FunctionError("Runtime.ExitError", "the runtime no longer waits for invocations")
            )
            return
        self.active[invocation.id] = invocation
        self._waiting.popleft().give(invocation)

    def fail(self, error: FunctionError) -> None:
        """Fail all invocations in progress, because the runtime has ended."""
        for invocation in self.active.values():
            invocation.response.fail(error)
        self.active.clear()

    def opened(self, connection: Connection) -> None:
        """Add a connection."""
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        """Remove a connection."""
        self._connections.discard(connection)
        if connection in self._waiting:
            self._waiting.remove(connection)

    def wait(self, connection: Connection) -> bool:
        """Note that a connection waits for an invocation.

        Return False if the runtime has, or waits for, as many invocations as it may have.
        """
        if len(self._waiting) + len(self.active) >= self._concurrency:
            return False
        self._waiting.append(connection)
        self._on_next()
        return True
