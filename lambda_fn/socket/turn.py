"""One turn of a conversation on a socket: its request, read with what the connection remembers."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import Rules
from lambda_fn.schema.responses import History, own_items
from lambda_fn.schema.responses.items import Item
from lambda_fn.socket.cache import Cache
from lambda_fn.socket.messages import Create
from lambda_fn.stream.negotiate import Continued, ReadRequest, read_response


class ReadOptions(NamedTuple):
    """How the requests of a deployment are read. See `read_response`."""

    rules: Rules
    keeps: bool
    store_default: bool


class _Previous(msgspec.Struct):
    previous_response_id: Any = None


class _Response(msgspec.Struct):
    output: list[msgspec.Raw]


class _Ended(msgspec.Struct):
    response: _Response


_previous = msgspec.json.Decoder(_Previous)
_ended = msgspec.json.Decoder(_Ended)
_item = msgspec.json.Decoder(Item)


class Turn:
    """One request, and its response when that has ended."""

    def __init__(self, request: Create, cache: Cache, options: ReadOptions) -> None:
        """Take a request of a connection that remembers `cache`."""
        self._stream_id = request.stream_id
        self._cache = cache
        self._options = options
        self._history: History | None = None
        self._own: list[msgspec.Raw] = []
        self._previous: str | None = None

    def read(self, body: bytes, headers: Mapping[str, str]) -> ReadRequest | Continued:
        """Read the request, as `read_response`.

        Raises:
            InvalidRequest: also if the request goes on from a response that is not there.

        """
        previous = _previous.decode(body.removeprefix(b"\xef\xbb\xbf")).previous_response_id
        self._previous = previous if isinstance(previous, str) else None
        before = None if self._previous is None else self._cache.get(self._previous)
        if self._previous is not None and before is None and not self._options.keeps:
            raise InvalidRequest(
                f"Previous response with id '{self._previous[:80]}' not found: this connection does "
                "not remember it, and this deployment keeps no responses. Send all items of the "
                "conversation in 'input'.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        options = self._options
        found = read_response(
            body,
            headers,
            options.rules,
            keeps=options.keeps,
            store_default=options.store_default,
            before=before,
        )
        if isinstance(found, ReadRequest):
            self._take(body, before or History())
            return found

        def read(history: History) -> ReadRequest:
            read = found.read(history)
            if before is not None:
                history = msgspec.structs.replace(
                    before, items=history.items, unseal=history.unseal
                )
            self._take(body, history)
            return read

        return Continued(found.previous, found.references, found.conversation, read)

    def _take(self, body: bytes, history: History) -> None:
        if history.conversation is not None:
            return  # it remembers itself, and another request may add to it meanwhile
        self._history = history
        self._own = own_items(body, history)

    def answered(self, response_id: str, event: bytes) -> None:
        """Remember the conversation with a response, whose last event is `event`."""
        if self._history is not None:
            self.remember(response_id, _ended.decode(event).response.output)

    def remember(self, response_id: str, output: list[msgspec.Raw]) -> None:
        """Remember the conversation with a response that has this output."""
        if self._history is None:  # it is one of a conversation
            return
        added = [*self._own, *output]
        try:
            items = [_item.decode(item) for item in added]
        except msgspec.ValidationError:  # a model may call what no request may name
            return
        history = History(
            before=[*self._history.before, *items],
            ancestors=[*self._history.ancestors, response_id.removeprefix("resp_")],
            size=self._history.size + sum(map(len, added)),
            unseal=self._history.unseal,
        )
        self._cache.put(self._stream_id, response_id, history)

    def failed(self) -> None:
        """Forget the response from which a request that failed went on, as OpenAI does."""
        if self._previous is not None:
            self._cache.evict(self._previous)
