"""Carriers: they bring one request here, and take its response to the client.

`AsgiCarrier` is HTTP's. What carries several requests at once, such as a socket, makes a carrier
for each of them. `Completions.answer` answers the request of a carrier.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Protocol

from starlette.types import Receive, Scope, Send

from lambda_fn.auth import Caller, read_key
from lambda_fn.http.responses import read_body
from lambda_fn.stream.sinks import AsgiSink, Sink


class Carrier(Protocol):
    """One request, and the client's end of its response.

    Before the response begins, the pipeline sets `response_headers`, and another `request_id` if
    another model answers. Both are final when it calls `sink.start`. An error that comes before
    that is raised, and the carrier's owner tells the client. A later one is in the response.
    """

    request_id: str
    """The id of the request, which its ledger item and its response have."""
    response_headers: Mapping[str, str]
    """The headers that tell the client of its limits, and of its log."""

    @property
    def caller(self) -> Caller:
        """The key that the request has. The pipeline verifies it."""
        ...

    @property
    def method(self) -> str:
        """The HTTP method. Requests that are equal have the same one, and the same path."""
        ...

    @property
    def path(self) -> str:
        """The path of the endpoint, such as `/v1/responses`."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The request's headers, by their names in lower case."""
        ...

    @property
    def sink(self) -> Sink:
        """The client's end."""
        ...

    async def body(self, max_bytes: int) -> bytes:
        """Return the request's body. It is asked for once, when the caller is authenticated.

        Raises:
            APIError: it is over `max_bytes`, or cannot be read.

        """
        ...

    def seconds_left(self) -> float | None:
        """Return the seconds until this process is stopped, None if it is not."""
        ...

    async def admitted(self) -> None:
        """Note that the request was admitted, and return when it may go on.

        A request that gets the response to an earlier one needs no admission, and this is called
        before it gets that.

        Raises:
            APIError: it is not to go on. The model is not asked.

        """
        ...

    def running(self, cancel: Callable[[], None]) -> None:
        """Note that the response begins.

        From now on, `cancel` ends it as cancelled. It may be called at any time.
        """
        ...

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background. It ends before this process is frozen or stopped."""
        ...


class AsgiCarrier:
    """An HTTP request, as an ASGI server brings it through `stream.middleware`."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take what ASGI calls an application with. Raises AuthenticationFailed as `read_key`."""
        self._scope = scope
        self._receive = receive
        self.headers: Mapping[str, str] = scope["sluice.request_headers"]
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.caller = read_key(self.headers, scope.get("client"))
        self.sink: Sink = AsgiSink(send, scope.get("aws.put"))

    @property
    def request_id(self) -> str:
        """The id of the request, which the middleware has assigned."""
        name: str = self._scope["sluice.request_id"]
        return name

    @request_id.setter
    def request_id(self, value: str) -> None:
        self._scope["sluice.request_id"] = value

    @property
    def response_headers(self) -> Mapping[str, str]:
        """The headers that the middleware adds."""
        headers: Mapping[str, str] = self._scope.get("sluice.response_headers", {})
        return headers

    @response_headers.setter
    def response_headers(self, value: Mapping[str, str]) -> None:
        self._scope["sluice.response_headers"] = value

    async def body(self, max_bytes: int) -> bytes:
        """Return the body. Raises as `read_body`."""
        return await read_body(self._receive, self.headers, max_bytes=max_bytes)

    def seconds_left(self) -> float | None:
        """Return the seconds that Lambda leaves the function, None elsewhere."""
        return seconds_left(self._scope)

    async def admitted(self) -> None:
        """Do nothing: an HTTP request waits for no other."""

    def running(self, cancel: Callable[[], None]) -> None:
        """Do nothing: HTTP has no message that cancels, and another request does."""

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background, as `in_background`."""
        in_background(self._scope, work)


class ScopeProcess:
    """The process that runs something without a request."""

    def __init__(self, scope: Scope) -> None:
        """Take the scope."""
        self._scope = scope

    def seconds_left(self) -> float | None:
        """Return the seconds that Lambda leaves the function, None elsewhere."""
        return seconds_left(self._scope)

    def in_background(self, work: Coroutine[None, None, object]) -> None:
        """Run `work` in the background, as `in_background`."""
        in_background(self._scope, work)


def seconds_left(scope: Scope) -> float | None:
    """Return the seconds that Lambda leaves the function for a request, None elsewhere."""
    context = scope.get("aws.context")
    return None if context is None else context.remaining()


_running: set[asyncio.Future[object]] = set()
"""The event loop itself does not keep the tasks that nothing waits for."""


def in_background(scope: Scope, work: Coroutine[None, None, object]) -> None:
    """Run `work` in the background. On Lambda it finishes before the next invocation is fetched."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    if (after := scope.get("aws.after")) is not None:
        after.append(task)
