"""The last event of a response whose function was killed before it had sent it."""

from collections.abc import Callable

from lambda_fn.aws.dynamodb import Table
from lambda_fn.encode.tagged import Tagger
from lambda_fn.ids import new_request_id
from lambda_fn.settings import Settings
from lambda_fn.stream.resume import resume
from lambda_fn.stream.sinks import Headers, ResponseBroken
from lambda_fn.stream_log.heads import StoredHead

_ENDS = (
    b"event: response.completed\n",
    b"event: response.incomplete\n",
    b"event: response.failed\n",
)


class _Last:
    """A sink that keeps the last event, if it is a terminal one."""

    put: Callable[[bytes], bool] | None = None

    def __init__(self, stream_id: str | None) -> None:
        self._tagger = Tagger(stream_id)
        self.event: bytes | None = None

    async def start(self, status: int, headers: Headers) -> None:
        """Begin a response."""

    async def write(self, data: bytes) -> None:
        """Keep what ends a response."""
        for event in self._tagger.feed(data):
            self.event = event.data if event.line in _ENDS else None

    async def end(self, data: bytes) -> None:
        """Do as `write` does."""
        await self.write(data)

    def abort(self, code: str) -> None:
        """Break off the response."""
        raise ResponseBroken(code)


async def last_event(
    table: Table, head: StoredHead, stream_id: str | None, seconds: float, settings: Settings
) -> bytes | None:
    """Return the terminal event of a response as JSON, with the name of its lane.

    None means that its log cannot tell it: it is not kept, or runs. Raises as `resume`.
    """
    if not head.is_final or head.kept != "segments":
        return None
    sink = _Last(stream_id)
    try:
        await resume(
            *(table, head, -1, sink),
            seconds=seconds,
            settings=settings,
            request_id=new_request_id(),
        )
    except ResponseBroken:
        return None
    return sink.event
